//! Messages as the headers of dead letters carry them.

/// Longest message, in bytes.
const LONGEST: usize = 1024;

/// A message in one line, without control characters, of at most 1 KiB, cut at a character's end.
pub fn printable(message: &str) -> String {
    let mut text: String = message.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    text.truncate(text.floor_char_boundary(LONGEST));
    text
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[test]
    fn messages_are_printable_and_bounded() {
        assert_eq!(printable("a\r\nb\u{1b}[31mc\u{85}"), "a  b [31mc ");
        let long = printable(&"ä".repeat(1_000));
        assert_eq!((long.len(), long.chars().count()), (1024, 512));
        assert_eq!(printable(&format!("x{}", "ä".repeat(1_000))).len(), 1023);
    }

    proptest! {
        #[test]
        fn any_message_is_printable_and_bounded(message in vec(any::<char>(), 0..1500)) {
            let text = printable(&message.into_iter().collect::<String>());
            prop_assert!(text.len() <= LONGEST && !text.contains(char::is_control));
        }
    }
}
