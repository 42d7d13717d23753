//! The figures of a takeover, as the server tells them that is asked how it stands.

use serde_json::Value;

/// What one takeover took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Summary {
    pub(crate) peers: u64,
    pub(crate) predecessor_pid: u32,
    pub(crate) successor_pid: u32,
    pub(crate) rounds: u64,
    pub(crate) dirty: u64,
    pub(crate) bytes: u64,
    pub(crate) copy_us: u64,
    pub(crate) pause_us: u64,
}

/// How a server stands, as far as a soak asks for that.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Standing {
    pub(crate) pid: u32,
    /// The takeover with which this process began.
    pub(crate) takeover: Option<Summary>,
    /// Why the last takeover from it has come to nothing.
    pub(crate) failure: Option<String>,
    /// Who follows it.
    pub(crate) standby: Option<Standby>,
    /// How many deaths were survived before this process served.
    pub(crate) deaths_survived: u64,
}

/// How the standby of a server stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Standby {
    pub(crate) pid: u32,
    /// Since when it could serve on, if it could.
    pub(crate) armed_since_unix_ms: Option<u64>,
    /// How many peers it knows.
    pub(crate) peers: u64,
}

impl Standing {
    /// Reads what `reactord status --json` has written.
    pub(crate) fn of_json(line: &str) -> Option<Self> {
        let status: Value = serde_json::from_str(line).ok()?;
        let pid = u32::try_from(status["pid"].as_u64()?).ok()?;
        let failure = status["failure"]["why"].as_str().map(str::to_owned);
        Some(Self {
            pid,
            takeover: summary(&status["takeover"], pid),
            failure,
            standby: standby(&status["standby"]),
            deaths_survived: status["deaths_survived"].as_u64().unwrap_or(0),
        })
    }
}

fn standby(standby: &Value) -> Option<Standby> {
    Some(Standby {
        pid: u32::try_from(standby["pid"].as_u64()?).ok()?,
        armed_since_unix_ms: standby["armed_since_unix_ms"].as_u64(),
        peers: standby["peers"].as_u64()?,
    })
}

fn summary(takeover: &Value, successor_pid: u32) -> Option<Summary> {
    let figure = |name: &str| takeover[name].as_u64();
    Some(Summary {
        peers: figure("peers")?,
        predecessor_pid: u32::try_from(figure("predecessor_pid")?).ok()?,
        successor_pid,
        rounds: figure("rounds")?,
        dirty: figure("dirty")?,
        bytes: figure("bytes")?,
        copy_us: figure("copy_us")?,
        pause_us: figure("pause_us")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_read_with_all_its_figures() {
        let line = r#"{"build":"reactord 0.2.0","pid":18267,"generation":2,"failure":null,"takeover":{"at_unix_ms":1,
            "predecessor_pid":18253,"peers":10000,"pause_us":199,"copy_us":33213,"bytes":204785,"rounds":2,"dirty":4}}"#;
        let takeover = Summary {
            peers: 10_000,
            predecessor_pid: 18_253,
            successor_pid: 18_267,
            rounds: 2,
            dirty: 4,
            bytes: 204_785,
            copy_us: 33_213,
            pause_us: 199,
        };
        let expected =
            Standing { pid: 18_267, takeover: Some(takeover), failure: None, standby: None, deaths_survived: 0 };
        assert_eq!(Standing::of_json(line), Some(expected));
    }

    #[test]
    fn a_first_process_has_taken_over_from_nobody() {
        let line = r#"{"pid":7,"takeover":null,"failure":{"at_unix_ms":1,"pid":8,"why":"it had to be"}}"#;
        let failure = Some("it had to be".to_owned());
        let expected = Standing { pid: 7, takeover: None, failure, standby: None, deaths_survived: 0 };
        assert_eq!(Standing::of_json(line), Some(expected));
        assert_eq!(Standing::of_json("INFO Took over"), None);
    }

    #[test]
    fn a_standby_is_read_whether_it_is_armed_or_not() {
        let line = |armed: &str| {
            format!(
                r#"{{"pid":7,"standby":{{"pid":8,"armed_since_unix_ms":{armed},"peers":200,"in_doubt":3}},"deaths_survived":2}}"#
            )
        };
        let armed = Standby { pid: 8, armed_since_unix_ms: Some(5), peers: 200 };
        let standing = Standing::of_json(&line("5")).unwrap();
        assert_eq!((standing.standby, standing.deaths_survived), (Some(armed), 2));
        let expected = Some(Standby { armed_since_unix_ms: None, ..armed });
        assert_eq!(Standing::of_json(&line("null")).unwrap().standby, expected);
    }
}
