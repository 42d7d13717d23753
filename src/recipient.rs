//! To whom everything is copied.

/// To whom peers, and what they share, are copied while their server serves. There may be one of each at a time: somebody takes over from
/// a server that is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// Whoever takes over, or takes some of the peers. There is one of these, too: no peer is moved while somebody takes over.
    Successor,
    /// Whoever would serve on if this process died.
    Standby,
}

impl Recipient {
    /// Both of them, by their numbers.
    pub(crate) const ALL: [Self; 2] = [Self::Successor, Self::Standby];
}

/// What there is for each recipient to whom something is copied now.
#[derive(Debug)]
pub(crate) struct ByRecipient<T>([Option<T>; Recipient::ALL.len()]);

impl<T> Default for ByRecipient<T> {
    fn default() -> Self {
        Self([const { None }; Recipient::ALL.len()])
    }
}

impl<T> ByRecipient<T> {
    /// A copy begins with this.
    pub(crate) fn begin(&mut self, to: Recipient, with: T) {
        self.0[to as usize] = Some(with);
    }

    /// It has come to its end. Whether nothing is copied to anybody.
    pub(crate) fn end(&mut self, to: Recipient) -> bool {
        self.0[to as usize] = None;
        self.0.iter().all(Option::is_none)
    }

    pub(crate) fn get(&self, to: Recipient) -> Option<&T> {
        self.0[to as usize].as_ref()
    }

    pub(crate) fn get_mut(&mut self, to: Recipient) -> Option<&mut T> {
        self.0[to as usize].as_mut()
    }

    pub(crate) fn each_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.iter_mut().flatten()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (Recipient, &mut T)> {
        Recipient::ALL.into_iter().zip(&mut self.0).filter_map(|(to, with)| Some((to, with.as_mut()?)))
    }
}
