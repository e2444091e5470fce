//! Refuses requests whose path lies below a denied prefix. Prefixes are compared segment by segment:
//! `/admin` denies `/admin` and `/admin/users`, but not `/administration`.

#[path = "../sdk/lib.rs"]
mod sallyport;

use sallyport::{config, deny, fail, request};

#[no_mangle]
pub extern "C" fn on_config() -> i32 {
    let prefixes = match config::list("deny") {
        None => return fail("deny must be a list of path prefixes, such as [\"/admin\"]"),
        Some(prefixes) => prefixes,
    };
    if prefixes.is_empty() {
        return fail("deny must name at least one path prefix");
    }
    for prefix in &prefixes {
        if !prefix.starts_with('/') || without_parameters(prefix) != *prefix {
            let named = String::from("deny holds ") + prefix;
            return fail(&(named + "; a prefix starts with a slash and has no semicolon"));
        }
        // A prefix that is not in normal form would never match. The host knows that form: it fails
        // the call on any other, and drops what the check of a configuration decides.
        request::set_path(prefix);
    }
    0
}

#[no_mangle]
pub extern "C" fn on_request() -> i32 {
    let prefixes = match config::list("deny") {
        None => return fail("deny is not a list of strings"),
        Some(prefixes) => prefixes,
    };
    let path = without_parameters(&request::path());
    match prefixes.iter().find(|prefix| lies_below(&path, prefix)) {
        Some(prefix) => deny(
            403,
            "This path is closed.\n",
            &(String::from("below ") + prefix),
        ),
        None => request::set_header("x-path-guard", "passed"),
    }
    0
}

fn lies_below(path: &str, prefix: &str) -> bool {
    match path.strip_prefix(prefix.strip_suffix('/').unwrap_or(prefix)) {
        Some(rest) => rest.is_empty() || rest.starts_with('/'),
        None => false,
    }
}

/// `/admin;v=1/users` is `/admin/users` to servers that know path parameters.
fn without_parameters(path: &str) -> String {
    let mut is_kept = true;
    path.chars()
        .filter(|next| {
            match next {
                '/' => is_kept = true,
                ';' => is_kept = false,
                _ => {}
            }
            is_kept
        })
        .collect()
}
