//! The end of a log file, for messages about what went wrong.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

const LINES: usize = 15;
const BYTES: u64 = 16 * 1024;

/// The last lines of the file and where to read the rest.
pub(crate) fn tail(log: &Path) -> String {
    let lines = read_end(log).unwrap_or_else(|error| format!("(cannot be read: {error})"));
    format!("the end of {}:\n{}", log.display(), last_lines(&lines))
}

fn read_end(log: &Path) -> std::io::Result<String> {
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(BYTES)))?;
    let mut end = Vec::new();
    file.read_to_end(&mut end)?;
    Ok(String::from_utf8_lossy(&end).into_owned())
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_lines_are_shown() {
        let text: Vec<String> = (0..40).map(|number| number.to_string()).collect();
        let shown = last_lines(&text.join("\n"));
        assert!(shown.starts_with("25\n") && shown.ends_with("\n39"));
    }

    #[test]
    fn a_missing_log_is_no_second_failure() {
        assert!(tail(Path::new("/nowhere/log")).contains("cannot be read"));
    }
}
