//! Values from the text that a metrics page is.

/// The value of the sample with this name and without labels; `None` where there is none.
pub fn value(page: &str, name: &str) -> Option<f64> {
    page.lines().find_map(|line| {
        let rest = line.strip_prefix(name)?.strip_prefix(' ')?;
        rest.split_ascii_whitespace().next()?.parse().ok()
    })
}

/// The body of an HTTP answer; `None` unless it is 200.
pub fn body(answer: &str) -> Option<&str> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split_ascii_whitespace().nth(1)?;
    (status == "200").then_some(body)
}
