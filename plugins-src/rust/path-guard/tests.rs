use crate::sdk::testing::{faults, get};
use crate::PathGuard;

#[test]
fn what_lies_below_a_prefix_is_refused() {
    for (path, status) in [
        ("/admin", 403),
        ("/admin/users", 403),
        ("/admin;v=1/users", 403),
        ("/administration", 0),
        ("/", 0),
    ] {
        let decided = get(path)
            .config(r#"{"deny":["/admin/"]}"#)
            .decide::<PathGuard>();
        assert_eq!(decided.status, status, "{path}");
    }
}

#[test]
fn every_wrong_prefix_is_told() {
    let all = faults::<PathGuard>(r#"{"deny":["admin","/a/../b","/a;b","/%41","/fine"]}"#);
    assert_eq!(all.matches("deny holds").count(), 4, "{all}");
    assert_eq!(faults::<PathGuard>("{}"), "deny is missing");
}
