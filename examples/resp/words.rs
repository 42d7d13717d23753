//! Where the words of a command begin and end. Pure; what has not come yet is `None`, and is asked for again.

use minicbor::{Decode, Encode};

/// How long a line may be: that of a command typed by hand, or that with a length.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// How long a word may be.
pub(crate) const WORD_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How many words a command may have.
const WORDS_MAX: usize = i32::MAX as usize;

/// How a command is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub(crate) enum Form {
    /// `*2`, then `$3` `GET`, then `$1` `k`, each with an end of line behind it.
    #[n(0)]
    Array,
    /// `GET k`, and an end of line.
    #[n(1)]
    Line,
}

/// Why these bytes are no command, as the client is told.
pub(crate) type Malformed = &'static str;

/// Looks at bytes word by word.
#[derive(Debug)]
pub(crate) struct Words<'i> {
    input: &'i [u8],
    at: usize,
    form: Form,
}

impl<'i> Words<'i> {
    /// At the beginning of a command. Returns how many words it has as well, which are none for an empty line.
    pub(crate) fn of_command(input: &'i [u8]) -> Result<Option<(Self, usize)>, Malformed> {
        if input.first() == Some(&b'*') {
            let mut words = Self { input, at: 1, form: Form::Array };
            let Some(count) = words.number("Protocol error: invalid multibulk length")? else { return Ok(None) };
            let count = usize::try_from(count).unwrap_or(0);
            return if count <= WORDS_MAX { Ok(Some((words, count))) } else { Err("Protocol error: too many words") };
        }
        match memchr::memchr(b'\n', &input[..input.len().min(LINE_BYTES_MAX)]) {
            Some(end) => {
                let count = input[..end].split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).count();
                Ok(Some((Self { input, at: 0, form: Form::Line }, count)))
            }
            None if input.len() < LINE_BYTES_MAX => Ok(None),
            None => Err("Protocol error: too big inline request"),
        }
    }

    /// In the middle of a command that is written in this form.
    pub(crate) fn within(input: &'i [u8], form: Form) -> Self {
        Self { input, at: 0, form }
    }

    pub(crate) fn form(&self) -> Form {
        self.form
    }

    /// How many bytes have been looked at.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// The next word, if all of it has come.
    pub(crate) fn next(&mut self) -> Result<Option<&'i [u8]>, Malformed> {
        match self.form {
            Form::Array => self.next_of_array(),
            Form::Line => Ok(Some(self.next_of_line())),
        }
    }

    fn next_of_array(&mut self) -> Result<Option<&'i [u8]>, Malformed> {
        let begin = self.at;
        match self.input.get(begin) {
            Some(b'$') => self.at += 1,
            Some(_) => return Err("Protocol error: expected '$'"),
            None => return Ok(None),
        }
        let length = self.number("Protocol error: invalid bulk length")?;
        let Some(length) = length else {
            self.back_to(begin);
            return Ok(None);
        };
        let length = usize::try_from(length).ok().filter(|length| *length <= WORD_BYTES_MAX);
        let end = self.at + length.ok_or("Protocol error: invalid bulk length")?;
        match self.input.get(end..end + 2) {
            Some(b"\r\n") => {
                let word = &self.input[self.at..end];
                self.at = end + 2;
                Ok(Some(word))
            }
            Some(_) => Err("Protocol error: a word does not end where it was said to"),
            None => {
                self.back_to(begin);
                Ok(None)
            }
        }
    }

    /// The caller has counted the words of the line, so there is another one.
    fn next_of_line(&mut self) -> &'i [u8] {
        let rest = &self.input[self.at..];
        let begin = rest.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(rest.len());
        let word = &rest[begin..];
        let word = &word[..word.iter().position(u8::is_ascii_whitespace).unwrap_or(word.len())];
        self.at += begin + word.len();
        word
    }

    /// All words of a command have been looked at: what is left of its line is, too.
    pub(crate) fn end(&mut self) {
        if self.form == Form::Line {
            let rest = &self.input[self.at..];
            self.at += memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
        }
    }

    /// Looks at what comes after the first so many bytes once more.
    pub(crate) fn back_to(&mut self, at: usize) {
        self.at = at;
    }

    /// A number and an end of line.
    #[inline]
    fn number(&mut self, malformed: Malformed) -> Result<Option<i64>, Malformed> {
        let (mut number, mut negative) = (0i64, false);
        for (index, byte) in self.input[self.at..].iter().enumerate() {
            match byte {
                b'0'..=b'9' if index < 12 => number = number * 10 + i64::from(byte - b'0'),
                b'-' if index == 0 => negative = true,
                b'\r' if index > 0 => match self.input.get(self.at + index + 1) {
                    Some(b'\n') => {
                        self.at += index + 2;
                        return Ok(Some(if negative { -number } else { number }));
                    }
                    Some(_) => return Err(malformed),
                    None => return Ok(None),
                },
                _ => return Err(malformed),
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words of a command, with how many bytes it has.
    type Command<'i> = (Vec<&'i [u8]>, usize);

    fn whole(input: &[u8]) -> Result<Option<Command<'_>>, Malformed> {
        let Some((mut words, count)) = Words::of_command(input)? else { return Ok(None) };
        let mut found = Vec::new();
        for _ in 0..count {
            match words.next()? {
                Some(word) => found.push(word),
                None => return Ok(None),
            }
        }
        words.end();
        Ok(Some((found, words.at())))
    }

    #[test]
    fn a_command_is_found_when_its_last_byte_has_come_and_not_before() {
        for (command, words) in [
            (&b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$4\r\na\r\nb\r\n"[..], &[&b"SET"[..], b"k", b"a\r\nb"][..]),
            (b"  SET  k a\tb \r\n", &[b"SET", b"k", b"a", b"b"]),
            (b"*1\r\n$0\r\n\r\n", &[b""]),
            (b"\r\n", &[]),
            (b"*0\r\n", &[]),
            (b"*-1\r\n", &[]),
        ] {
            for end in 1..command.len() {
                assert_eq!(whole(&command[..end]), Ok(None), "{end} bytes of {command:?}");
            }
            let followed = [command, b"*1\r\n"].concat();
            assert_eq!(whole(&followed), Ok(Some((words.to_vec(), command.len()))), "{command:?}");
        }
    }

    #[test]
    fn what_can_never_be_a_command_is_refused() {
        let long = vec![b'a'; LINE_BYTES_MAX];
        for malformed in [
            &b"*x\r\n"[..],
            b"*\r\n",
            b"*1\rx",
            b"*2147483648\r\n",
            b"*99999999999999999999\r\n",
            b"*1\r\n:1\r\n",
            b"*1\r\n$-1\r\n",
            b"*1\r\n$99999999\r\n",
            b"*1\r\n$1\r\nabc",
            &long,
        ] {
            assert!(whole(malformed).is_err(), "{:?}", &malformed[..malformed.len().min(30)]);
        }
    }

    #[test]
    fn a_word_that_has_not_come_whole_is_asked_for_again() {
        let mut words = Words::within(b"$1\r\na\r\n$2\r\nb", Form::Array);
        assert_eq!(words.next(), Ok(Some(&b"a"[..])));
        let at = words.at();
        assert_eq!((words.next(), words.at()), (Ok(None), at));
    }
}
