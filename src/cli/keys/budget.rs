//! `--budget`: a budget of a new key, as `PERIOD=AMOUNT[,OPTION]…`.

use crate::cli::money::parse_micros;
use crate::grpc::pb;
use crate::grpc::pb::budget::{Enforcement, Period};

/// How a budget is written.
pub const GRAMMAR: &str = "a budget is PERIOD=AMOUNT (total, daily, weekly, monthly or yearly), then, by commas, any \
                           of soft, warning=AMOUNT, model=PATTERN, default-estimate=AMOUNT, require-estimate, \
                           name=TEXT";

/// Parses `monthly=100.00,warning=80.00,model=gpt-4o*`.
///
/// # Errors
/// A sentence that shows how to write one.
pub fn parse(text: &str) -> Result<pb::Budget, String> {
    let mut parts = text.split(',');
    let (period, limit) = parts.next().and_then(|part| part.split_once('=')).ok_or(GRAMMAR)?;
    let mut budget = pb::Budget {
        limit_micros: Some(parse_micros(limit)?),
        period: parse_period(period)?.into(),
        ..Default::default()
    };
    for part in parts {
        match part.split_once('=') {
            None if part == "soft" => budget.enforcement = Enforcement::Soft.into(),
            None if part == "require-estimate" => budget.require_estimate = true,
            Some(("warning", amount)) => budget.warning_micros = Some(parse_micros(amount)?),
            Some(("model", pattern)) => budget.models.push(pattern.to_owned()),
            Some(("default-estimate", amount)) => budget.default_estimate_micros = parse_micros(amount)?,
            Some(("name", name)) => budget.display_name = name.to_owned(),
            _ => return Err(format!("{part} is no option of a budget; {GRAMMAR}")),
        }
    }
    Ok(budget)
}

fn parse_period(text: &str) -> Result<Period, String> {
    match text {
        "total" => Ok(Period::Total),
        "daily" => Ok(Period::Daily),
        "weekly" => Ok(Period::Weekly),
        "monthly" => Ok(Period::Monthly),
        "yearly" => Ok(Period::Yearly),
        _ => Err(format!("{text} is no period; {GRAMMAR}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_a_period_and_an_amount() {
        let budget = parse("total=25.00").unwrap();
        assert_eq!(budget.limit_micros, Some(25_000_000));
        assert_eq!(budget.period(), Period::Total);
        assert_eq!(budget.enforcement(), Enforcement::Unspecified);
        assert_eq!(parse("daily=0").unwrap().limit_micros, Some(0));
    }

    #[test]
    fn options_follow_by_commas() {
        let text = "monthly=100,soft,warning=80.5,model=gpt-4o*,model=o3,default-estimate=0.01,require-estimate,name=A=B";
        let expected = pb::Budget {
            display_name: "A=B".into(),
            limit_micros: Some(100_000_000),
            period: Period::Monthly.into(),
            enforcement: Enforcement::Soft.into(),
            warning_micros: Some(80_500_000),
            models: vec!["gpt-4o*".into(), "o3".into()],
            default_estimate_micros: 10_000,
            require_estimate: true,
            ..Default::default()
        };
        assert_eq!(parse(text), Ok(expected));
    }

    #[test]
    fn what_is_no_budget_is_refused_with_its_grammar() {
        for text in [
            "",
            "25",
            "total",
            "total:25",
            "=25",
            "hourly=1",
            "total=25,hard",
            "total=25,",
            "total=1,soft=yes",
        ] {
            assert!(parse(text).unwrap_err().contains("PERIOD=AMOUNT"), "{text}");
        }
        assert!(parse("total=1.0000001").unwrap_err().contains("more than 6 decimals"));
        assert!(parse("total=10,warning=x").unwrap_err().contains("x is no amount"));
    }
}
