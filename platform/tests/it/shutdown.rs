use std::path::Path;

use rustix::process::Signal;

use crate::helper::{Helper, How};

#[test]
fn the_first_signal_asks_and_the_second_one_ends() {
    let mut helper = Helper::start("stubborn", Path::new(""), &How::default());
    assert_eq!(helper.said, "ready");
    helper.signal(Signal::TERM);
    assert_eq!(helper.hear(), "stopping");
    helper.signal(Signal::INT);
    assert_eq!(helper.status().code(), Some(130));
}
