//! The functions that steps may call: an allow-list, so that a newer library brings in nothing unseen.
//!
//! Not on it: what reads the clock, the environment, files, the network or a random source (a record must get the same
//! verdict on every attempt), what unpacks or expands (a small record must not become a large one), what walks back in
//! regular expressions, and what compiles programs from data.

use std::sync::LazyLock;

use vrl::compiler::Function;

use crate::{
    pieces::{LookAtPieces, telling},
    texts::bounded,
};

/// The functions that steps may call, for the compiler.
pub(crate) fn allowed() -> &'static [Box<dyn Function>] {
    static FUNCTIONS: LazyLock<Vec<Box<dyn Function>>> = LazyLock::new(|| functions().collect());
    &FUNCTIONS
}

/// The same, and what looks at texts that are taken to pieces, which nobody writes.
pub(crate) fn guarded() -> &'static [Box<dyn Function>] {
    static FUNCTIONS: LazyLock<Vec<Box<dyn Function>>> =
        LazyLock::new(|| functions().map(telling).chain([Box::new(LookAtPieces) as Box<dyn Function>]).collect());
    &FUNCTIONS
}

fn functions() -> impl Iterator<Item = Box<dyn Function>> {
    let allowed = vrl::stdlib::all().into_iter().filter(|function| ALLOWED.contains(&function.identifier()));
    allowed.map(bounded)
}

/// Whether the language has this function and steps may not call it.
pub(crate) fn is_withheld(name: &str) -> bool {
    static WITHHELD: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
        vrl::stdlib::all().iter().map(|function| function.identifier()).filter(|name| !ALLOWED.contains(name)).collect()
    });
    WITHHELD.contains(&name)
}

/// By name, in the order of the language's reference.
#[rustfmt::skip]
const ALLOWED: &[&str] = &[
    "append", "chunks", "push", "zip", "pop", "unique",
    "decode_base16", "decode_base64", "decode_percent", "encode_base16", "encode_base64", "encode_csv", "encode_json",
    "encode_key_value", "encode_logfmt", "encode_percent", "encode_punycode", "decode_punycode",
    "format_int", "format_number", "format_timestamp", "from_unix_timestamp", "to_unix_timestamp",
    "assert", "assert_eq",
    "filter", "flatten", "for_each", "map_keys", "map_values", "tally", "tally_value", "match_array",
    "compact", "del", "exists", "find", "from_entries", "get", "includes", "is_empty", "keys", "length", "merge",
    "object_from_array", "remove", "to_entries", "values", "tag_types_externally",
    "ip_aton", "ip_cidr_contains", "ip_ntoa", "ip_subnet", "ip_to_ipv6", "ipv6_to_ipv4", "is_ipv4", "is_ipv6",
    "abs", "ceil", "floor", "mod", "round", "haversine",
    "parse_bytes", "parse_csv", "parse_duration", "parse_float", "parse_int", "parse_json", "parse_key_value",
    "parse_logfmt", "parse_query_string", "parse_regex", "parse_regex_all", "parse_timestamp", "parse_tokens", "parse_url",
    "basename", "dirname", "split_path",
    "camelcase", "contains", "contains_all", "downcase", "ends_with", "join", "kebabcase", "match", "match_any",
    "pascalcase", "redact", "replace", "replace_with", "screamingsnakecase", "shannon_entropy", "sieve", "slice",
    "snakecase", "split", "starts_with", "strip_ansi_escape_codes", "strip_whitespace", "strlen", "truncate", "upcase",
    "array", "bool", "float", "int", "object", "string", "timestamp",
    "is_array", "is_boolean", "is_float", "is_integer", "is_json", "is_null", "is_nullish", "is_object", "is_regex",
    "is_string", "is_timestamp", "to_bool", "to_float", "to_int", "to_string",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_on_the_list_exists() {
        let missing: Vec<_> =
            ALLOWED.iter().filter(|name| !allowed().iter().any(|function| function.identifier() == **name)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn what_reaches_outside_or_differs_each_time_is_withheld() {
        for name in [
            "now",
            "random_int",
            "uuid_v4",
            "uuid_v7",
            "log",
            "parse_grok",
            "parse_yaml",
            "parse_xml",
            "decode_gzip",
            "to_regex",
            "range",
            "set",
        ] {
            assert!(is_withheld(name), "{name}");
        }
        for name in ["get_env_var", "http_request", "dns_lookup", "reverse_dns", "get_hostname"] {
            assert!(allowed().iter().all(|function| function.identifier() != name), "{name}");
        }
    }
}
