//! What this process does at signals, as the kernel tells.

/// What it does at which of them (proc(5)). Where its status does not tell, everything is as by default.
#[derive(Debug, Default)]
pub(crate) struct Dispositions {
    ignored: u64,
    handled: u64,
}

impl Dispositions {
    pub(crate) fn now() -> Self {
        Self::parse(&std::fs::read_to_string("/proc/self/status").unwrap_or_default())
    }

    fn parse(status: &str) -> Self {
        let mask = |name| status.lines().find_map(|line: &str| line.strip_prefix(name));
        let mask = |name| mask(name).and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
        Self { ignored: mask("SigIgn:"), handled: mask("SigCgt:") }
    }

    pub(crate) fn is_ignored(&self, number: i32) -> bool {
        self.ignored & (1 << (number - 1)) != 0
    }

    pub(crate) fn is_handled(&self, number: i32) -> bool {
        self.handled & (1 << (number - 1)) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_tells_what_it_ignores_and_what_it_handles() {
        let dispositions =
            Dispositions::parse("SigBlk:\t0000000000000004\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000004002\n");
        let numbers =
            |is: fn(&Dispositions, i32) -> bool| (1..=64).filter(|number| is(&dispositions, *number)).collect();
        let (ignored, handled): (Vec<i32>, Vec<i32>) =
            (numbers(Dispositions::is_ignored), numbers(Dispositions::is_handled));
        assert_eq!((ignored, handled), (vec![1, 13], vec![2, 15]));
        assert_eq!(Dispositions::parse("").ignored, 0, "nothing is known");
    }
}
