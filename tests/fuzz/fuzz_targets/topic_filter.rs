//! Any two strings, as filter and topic name: validation and matching agree with their definition.
//!
//! The input is the filter, a line feed, and the topic name.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rookery_fuzz::mqtt::topic::{
    TOPIC_BYTES_MAX, TOPIC_LEVELS_MAX, TopicFilter, has_wildcard, hides_dollar_topic, level_count,
    levels_match, matches, validate_topic_filter, validate_topic_name,
};

fuzz_target!(|input: &str| {
    let (filter, topic) = input.split_once('\n').unwrap_or((input, "a/b"));
    assert_eq!(validate_topic_filter(filter).is_ok(), is_filter(filter), "{filter:?}");
    assert_eq!(validate_topic_name(topic).is_ok(), is_name(topic), "{topic:?}");
    // Matching takes any strings without harm; what it answers matters for valid ones.
    let found = levels_match(filter, topic);
    let (Ok(filter), Ok(())) = (TopicFilter::parse(filter), validate_topic_name(topic)) else { return };
    let filter_levels: Vec<&str> = filter.levels().collect();
    let topic_levels: Vec<&str> = topic.split('/').collect();
    assert_eq!(found, is_match(&filter_levels, &topic_levels), "{filter:?} and {topic:?}");
    let hidden = topic.starts_with('$') && matches!(filter_levels.first(), Some(&"+" | &"#"));
    assert_eq!(hides_dollar_topic(filter.as_str(), topic), hidden);
    assert_eq!(matches(filter.as_str(), topic), found && !hidden);
    assert_eq!(filter.matches(topic), found && !hidden);
    if !has_wildcard(filter.as_str()) {
        assert_eq!(found, filter.as_str() == topic);
        assert_eq!(validate_topic_name(filter.as_str()), Ok(()));
    }
});

fn is_within_limits(topic: &str) -> bool {
    !topic.is_empty() && topic.len() <= TOPIC_BYTES_MAX && level_count(topic) <= TOPIC_LEVELS_MAX
}

fn is_name(topic: &str) -> bool {
    is_within_limits(topic) && !topic.contains(['+', '#', '\0'])
}

fn is_filter(filter: &str) -> bool {
    let last = level_count(filter) - 1;
    is_within_limits(filter)
        && filter.split('/').enumerate().all(|(index, level)| match level {
            "+" => true,
            "#" => index == last,
            literal => !literal.contains(['+', '#', '\0']),
        })
}

/// MQTT 4.7.1 as recursion; levels are few by then.
fn is_match(filter: &[&str], topic: &[&str]) -> bool {
    match (filter, topic) {
        ([], []) | (["#"], _) => true,
        (["+", filter @ ..], [_, topic @ ..]) => is_match(filter, topic),
        ([left, filter @ ..], [right, topic @ ..]) => left == right && is_match(filter, topic),
        _ => false,
    }
}
