//! The sessions of a service, by the keys of its peers.

/// All sessions. A key has none before its peer is opened, and none after it is closed.
#[derive(Debug)]
pub(crate) struct Sessions<T> {
    by_key: Vec<Option<T>>,
    /// Those that came while another session was lent out, with their keys.
    late: Vec<(usize, T)>,
}

impl<T> Sessions<T> {
    /// None, with room for `capacity`.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { by_key: Vec::with_capacity(capacity), late: Vec::new() }
    }

    pub(crate) fn insert(&mut self, key: usize, session: T) {
        if key >= self.by_key.len() {
            self.by_key.resize_with(key + 1, || None);
        }
        self.by_key[key] = Some(session);
    }

    fn take_late(&mut self) {
        for (key, session) in std::mem::take(&mut self.late) {
            self.insert(key, session);
        }
    }

    pub(crate) fn remove(&mut self, key: usize) -> Option<T> {
        self.take_late();
        self.by_key.get_mut(key)?.take()
    }

    pub(crate) fn get(&self, key: usize) -> Option<&T> {
        let late = || self.late.iter().find(|(late, _)| *late == key).map(|(_, session)| session);
        self.by_key.get(key).and_then(Option::as_ref).or_else(late)
    }

    /// The session at `key`, and all others.
    pub(crate) fn split(&mut self, key: usize) -> Option<(&mut T, Others<'_, T>)> {
        if !self.late.is_empty() {
            self.take_late();
        }
        let late = &mut self.late;
        let (before, rest) = self.by_key.split_at_mut_checked(key)?;
        let (session, after) = rest.split_first_mut()?;
        Some((session.as_mut()?, Others { before, after, late }))
    }

    /// All of them, for a call about a peer that has none.
    pub(crate) fn all(&mut self) -> Others<'_, T> {
        self.take_late();
        Others { before: &mut self.by_key, after: &mut [], late: &mut self.late }
    }
}

/// All sessions but one.
#[derive(Debug)]
pub(crate) struct Others<'a, T> {
    before: &'a mut [Option<T>],
    after: &'a mut [Option<T>],
    late: &'a mut Vec<(usize, T)>,
}

impl<T> Others<'_, T> {
    /// The session at `key`, to be looked at.
    pub(crate) fn get(&self, key: usize) -> Option<&T> {
        let Self { before, after, late } = self;
        let session = match key.checked_sub(before.len()) {
            None => before.get(key),
            Some(behind) => behind.checked_sub(1).and_then(|behind| after.get(behind)),
        };
        match session {
            Some(Some(session)) => Some(session),
            _ => late.iter().find(|(late, _)| *late == key).map(|(_, session)| session),
        }
    }

    /// The session at `key`, unless that is the one that is left out.
    pub(crate) fn get_mut(&mut self, key: usize) -> Option<&mut T> {
        let Self { before, after, late } = self;
        let session = match key.checked_sub(before.len()) {
            None => before.get_mut(key),
            Some(behind) => behind.checked_sub(1).and_then(|behind| after.get_mut(behind)),
        };
        match session {
            Some(Some(session)) => Some(session),
            _ => late.iter_mut().find(|(late, _)| *late == key).map(|(_, session)| session),
        }
    }

    /// A session comes to a key that has none.
    pub(crate) fn insert(&mut self, key: usize, session: T) {
        self.late.push((key, session));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_others_are_there_beside_the_one_that_is_called_about() {
        let mut sessions = Sessions::new(0);
        for key in [0, 1, 3] {
            sessions.insert(key, key * 10);
        }
        for key in [0, 1, 3] {
            let (session, mut others) = sessions.split(key).unwrap();
            assert_eq!(*session, key * 10);
            for other in 0..5 {
                let expected = (other != key && [0, 1, 3].contains(&other)).then_some(other * 10);
                assert_eq!(others.get_mut(other).copied(), expected, "beside {key}");
            }
        }
        assert!(sessions.split(2).is_none());
        let (_, mut others) = sessions.split(1).unwrap();
        others.insert(9, 90);
        assert_eq!(others.get_mut(9), Some(&mut 90), "it is there at once");
        assert_eq!(sessions.get(9), Some(&90));
        assert_eq!(sessions.split(9).map(|(session, _)| *session), Some(90));
        assert_eq!(sessions.remove(1), Some(10));
        assert_eq!(sessions.get(1), None);
        assert_eq!(sessions.remove(7), None);
    }
}
