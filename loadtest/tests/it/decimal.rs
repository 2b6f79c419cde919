use loadtest::decimal::parse;
use proptest::prelude::*;
use protocol::NanoUsd;
use protocol::money::ParseMoneyError;

#[test]
fn every_spelling_of_an_amount_is_the_same_amount() {
    for (text, nano) in [
        ("0.0000012", 1_200),
        ("1.2e-6", 1_200),
        ("1.2E-6", 1_200),
        ("12e-7", 1_200),
        ("0.12e-5", 1_200),
        ("\"0.0000012\"", 1_200),
        ("0", 0),
        ("0.0", 0),
        ("0e0", 0),
        ("1e-9", 1),
        ("5", 5_000_000_000),
        ("5e0", 5_000_000_000),
        ("5.0e1", 50_000_000_000),
        ("1.5e3", 1_500_000_000_000),
    ] {
        assert_eq!(parse(text).unwrap().nano(), nano, "{text}");
    }
}

#[test]
fn what_a_float_would_have_rounded_is_refused() {
    assert_eq!(parse("1e-10").unwrap_err().reason, ParseMoneyError::TooFine { places: 9 });
    assert_eq!(parse("0.30000000000000004").unwrap_err().reason, ParseMoneyError::TooFine { places: 9 });
    for text in ["", "null", "-1", "e5", "1e", "1e+", "1e999999999999", "NaN", "1.2.3e1"] {
        assert!(parse(text).is_err(), "{text}");
    }
    assert!(parse("1e40").is_err());
}

#[test]
fn ten_tenths_are_a_dollar() {
    let tenth = parse("0.1").unwrap();
    let sum = (0..10).try_fold(NanoUsd::ZERO, |sum, _| sum.checked_add(tenth)).unwrap();
    assert_eq!(sum, NanoUsd::from_dollars(1));
    // The same in doubles is not.
    assert_ne!((0..10).fold(0.0, |sum, _| sum + 0.1), 1.0);
}

proptest! {
    #[test]
    fn moving_the_point_changes_nothing(nano in 0..=i64::MAX, places in 0_u32..12) {
        let amount = NanoUsd::new(nano).unwrap();
        prop_assert_eq!(parse(&amount.to_string()).unwrap(), amount);
        prop_assert_eq!(parse(&format!("{nano}e-9")).unwrap(), amount);
        let zeros = "0".repeat(places as usize);
        prop_assert_eq!(parse(&format!("{nano}{zeros}e-{}", 9 + places)).unwrap(), amount);
    }
}
