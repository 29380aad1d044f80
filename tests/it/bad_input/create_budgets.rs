//! CreateKey's budgets.

use keystile::grpc::pb;

use super::{Row, many, texts};

fn row(what: &str, fields: &[&'static str], budgets: Vec<pb::Budget>) -> Row {
    let key = pb::Key { user_id: 7, display_name: "k".into(), ..Default::default() };
    let request = pb::CreateKeyRequest { key: Some(key), budgets, ..Default::default() };
    Row::invalid(what, "KeyService/CreateKey", &request, fields)
}

fn one(what: &str, fields: &[&'static str], change: impl FnOnce(&mut pb::Budget)) -> Row {
    let mut budget = good();
    change(&mut budget);
    row(&format!("budget: {what}"), fields, vec![budget])
}

fn good() -> pb::Budget {
    pb::Budget { limit_micros: Some(100), period: pb::budget::Period::Daily.into(), ..Default::default() }
}

pub fn rows() -> Vec<Row> {
    let limit = ["budgets[0].limit_micros"];
    let warning = ["budgets[0].warning_micros"];
    let all_wrong = pb::Budget {
        subject: Some(pb::budget::Subject::UserId(7)),
        display_name: "\n".into(),
        limit_micros: None,
        period: 0,
        enforcement: 9,
        warning_micros: Some(-5),
        models: texts(["*a"]),
        default_estimate_micros: -1,
        ..Default::default()
    };
    let all_fields = [
        "budgets[1].subject",
        "budgets[1].display_name",
        "budgets[1].limit_micros",
        "budgets[1].period",
        "budgets[1].enforcement",
        "budgets[1].warning_micros",
        "budgets[1].models[0]",
        "budgets[1].default_estimate_micros",
    ];
    vec![
        row("21 budgets", &["budgets"], vec![good(); 21]),
        row("everything wrong with the second budget", &all_fields, vec![good(), all_wrong]),
        one("of a key", &["budgets[0].subject"], |it| it.subject = Some(pb::budget::Subject::KeyId(1))),
        one("name of 101 characters", &["budgets[0].display_name"], |it| it.display_name = "x".repeat(101)),
        one("no limit", &limit, |it| it.limit_micros = None),
        one("no limit, but a warning", &limit, |it| {
            it.limit_micros = None;
            it.warning_micros = Some(5);
        }),
        one("negative limit", &limit, |it| it.limit_micros = Some(-1)),
        one("no period", &["budgets[0].period"], |it| it.period = 0),
        one("unknown period", &["budgets[0].period"], |it| it.period = 6),
        one("unknown enforcement", &["budgets[0].enforcement"], |it| it.enforcement = 3),
        one("negative warning", &warning, |it| it.warning_micros = Some(-1)),
        one("warning above the limit", &warning, |it| it.warning_micros = Some(101)),
        one("model with a star inside", &["budgets[0].models[1]"], |it| it.models = texts(["a*", "a*b"])),
        one("1001 models", &["budgets[0].models"], |it| it.models = many(1001, |n| n.to_string())),
        one("negative estimate", &["budgets[0].default_estimate_micros"], |it| {
            it.default_estimate_micros = i64::MIN
        }),
    ]
}
