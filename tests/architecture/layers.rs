//! Which module may use which, and which crates.

use std::collections::BTreeSet;

use crate::code::{blank, is_word};
use crate::tree::{self, SourceFile};

/// One module of the library.
struct Layer {
    name: &'static str,
    /// The modules of the library that it may use.
    uses: &'static [&'static str],
}

/// The modules in dependency order: each uses only those before it.
const LAYERS: [Layer; 18] = [
    Layer { name: "call", uses: &[] },
    Layer { name: "clock", uses: &[] },
    Layer { name: "policy", uses: &[] },
    Layer { name: "limits", uses: &["policy"] },
    Layer { name: "metrics", uses: &["policy"] },
    Layer { name: "token", uses: &["clock", "metrics"] },
    Layer { name: "tls", uses: &[] },
    Layer { name: "storage", uses: &["call", "clock", "policy", "limits", "metrics", "token", "tls"] },
    Layer { name: "leases", uses: &["call", "clock", "policy", "limits", "metrics", "storage"] },
    Layer { name: "cache", uses: &["call", "clock", "policy", "metrics", "token", "storage", "leases"] },
    Layer { name: "admin", uses: &["clock", "policy", "limits", "metrics", "token", "storage", "cache"] },
    Layer {
        name: "authorize",
        uses: &["call", "clock", "policy", "limits", "metrics", "token", "storage", "leases", "cache"],
    },
    Layer {
        name: "grpc",
        uses: &["call", "clock", "policy", "limits", "metrics", "storage", "cache", "admin", "authorize"],
    },
    Layer { name: "embedded", uses: &[] },
    Layer { name: "config", uses: &["policy", "token", "tls", "leases", "cache", "embedded"] },
    Layer { name: "telemetry", uses: &["call", "metrics", "config"] },
    Layer {
        name: "server",
        uses: &[
            "clock",
            "policy",
            "metrics",
            "token",
            "tls",
            "storage",
            "leases",
            "cache",
            "admin",
            "authorize",
            "grpc",
            "embedded",
            "config",
            "telemetry",
        ],
    },
    Layer {
        name: "cli",
        uses: &[
            "clock",
            "policy",
            "token",
            "tls",
            "storage",
            "admin",
            "authorize",
            "grpc",
            "embedded",
            "config",
            "telemetry",
            "server",
        ],
    },
];

/// Crates that only some modules may use.
const RESERVED: [(&[&str], &[&str]); 12] = [
    (&["diesel", "diesel_async", "diesel_migrations", "deadpool", "tokio_postgres_rustls"], &["storage"]),
    // Settings name a database by a URL, which this crate reads.
    (&["tokio_postgres"], &["storage", "config"]),
    (&["rustls_native_certs", "x509_cert"], &["tls"]),
    (&["rustls"], &["tls", "server", "cli"]),
    (&["tokio_rustls"], &["server", "cli"]),
    (
        &[
            "tonic",
            "tonic_health",
            "tonic_prost",
            "tonic_reflection",
            "tonic_types",
            "prost",
            "prost_reflect",
            "prost_types",
            "tower",
        ],
        &["grpc", "server", "cli"],
    ),
    // HTTP/2 by hand is for the loops alone.
    (&["h2"], &["server"]),
    (&["http", "http_body", "hyper", "hyper_util"], &["grpc", "telemetry", "server", "cli"]),
    (
        &["opentelemetry", "opentelemetry_otlp", "opentelemetry_sdk", "tracing_opentelemetry"],
        &["grpc", "telemetry"],
    ),
    (&["bcrypt", "crc32fast", "hmac", "rand"], &["token"]),
    (&["clap"], &["config", "cli"]),
    (&["anyhow", "clap_complete", "clap_mangen", "comfy_table", "indicatif", "saphyr"], &["cli"]),
];

/// What the decision core may use beside `std`; proptest in its tests.
const OF_POLICY: [&str; 2] = ["chrono", "proptest"];

/// The names of the modules, in dependency order.
pub fn names() -> Vec<String> {
    LAYERS.iter().map(|layer| layer.name.to_owned()).collect()
}

/// The modules that a library's root declares, in order.
pub fn declared_modules(code: &str) -> Vec<String> {
    let lines = code.lines().filter_map(|line| line.trim().strip_prefix("pub mod ")?.strip_suffix(';'));
    lines.map(str::to_owned).collect()
}

/// The crates that the project depends on, by the names that code has for them.
pub fn foundations() -> BTreeSet<String> {
    let manifest: toml::Table = tree::file("Cargo.toml").text.parse().unwrap();
    let tables = ["dependencies", "dev-dependencies"].map(|name| manifest[name].as_table().unwrap());
    tables.iter().flat_map(|table| table.keys()).map(|name| name.replace('-', "_")).collect()
}

/// What this file uses and may not.
pub fn violations(file: &SourceFile, foundations: &BTreeSet<String>) -> Vec<String> {
    let Some(module) = module_path(&file.path) else { return Vec::new() };
    let name = module[0];
    let Some(layer) = LAYERS.iter().find(|layer| layer.name == name) else {
        return vec![format!("the module {name} has no place among the layers")];
    };
    let modules = used_modules(&file.code, module.len());
    let forbidden = modules.iter().filter(|used| *used != name && !layer.uses.contains(&used.as_str()));
    let mut found: Vec<String> = forbidden.map(|used| format!("{name} may not use crate::{used}")).collect();
    for used in used_crates(&file.code, foundations) {
        let is_reserved =
            RESERVED.iter().any(|(crates, users)| crates.contains(&used.as_str()) && !users.contains(&name));
        if is_reserved || (["policy", "limits"].contains(&name) && !OF_POLICY.contains(&used.as_str())) {
            found.push(format!("{name} may not use the crate {used}"));
        }
    }
    found
}

/// `src/grpc/convert/keys.rs` is `[grpc, convert, keys]`; `None` for the roots `lib.rs` and `main.rs`.
fn module_path(path: &str) -> Option<Vec<&str>> {
    let module = path.strip_prefix("src/")?.strip_suffix(".rs")?;
    (module != "lib" && module != "main").then(|| module.split('/').collect())
}

/// Modules of the library named after `crate::`, or after as many `super::` as lead out of a file that lies
/// `depth` modules deep.
fn used_modules(code: &str, depth: usize) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    let ways = ["crate::".to_owned(), "super::".repeat(depth)];
    for way in &ways {
        for (at, _) in code.match_indices(way.as_str()) {
            if code[..at].chars().next_back().is_some_and(|c| is_word(c) || c == '$') {
                continue;
            }
            let after = code[at + way.len()..].trim_start_matches("super::");
            used.extend(
                first_names(after).into_iter().filter(|name| LAYERS.iter().any(|it| it.name == name)),
            );
        }
    }
    used
}

/// The name that a path goes on with, or all of them where a group opens.
fn first_names(path: &str) -> Vec<String> {
    let Some(group) = path.strip_prefix('{') else {
        return vec![path.chars().take_while(|c| is_word(*c)).collect()];
    };
    let mut names = Vec::new();
    let mut depth = 0_i32;
    let mut name = String::new();
    let mut is_tail = false;
    for character in group.chars() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.push(std::mem::take(&mut name));
                is_tail = false;
            }
            c if depth == 0 && is_word(c) && !is_tail => name.push(c),
            ':' => is_tail = true,
            _ => {}
        }
    }
    names.push(name);
    names
}

/// Which of `foundations` stand at the head of a path.
fn used_crates(code: &str, foundations: &BTreeSet<String>) -> BTreeSet<String> {
    let names = foundations.iter().filter(|name| {
        code.match_indices(name.as_str()).any(|(at, _)| {
            let before = code[..at].trim_end_matches(' ');
            let after = &code[at + name.len()..];
            let is_whole = !code[..at].chars().next_back().is_some_and(is_word);
            let is_head = match before.strip_suffix("::") {
                Some(longer) => !longer.ends_with(|c| is_word(c) || c == '>'),
                None => !before.ends_with('.'),
            };
            let is_used = after.starts_with("::")
                || (before.ends_with("use") && (after.starts_with(';') || after.starts_with(" as ")));
            is_whole && is_head && is_used
        })
    });
    names.cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        violations(&SourceFile::new(path, text), &foundations())
    }

    #[test]
    fn the_layers_stand_in_dependency_order() {
        for (position, layer) in LAYERS.iter().enumerate() {
            for used in layer.uses {
                let below = LAYERS.iter().position(|it| it.name == *used);
                assert!(below.is_some_and(|below| below < position), "{} uses {used}", layer.name);
            }
        }
    }

    #[test]
    fn a_module_that_uses_one_above_it_is_found() {
        for (path, text) in [
            ("src/policy/a.rs", "use crate::clock::Clock;"),
            ("src/policy/a.rs", "use super::super::clock::Clock;"),
            ("src/policy/a/b.rs", "use super::super::super::clock;"),
            ("src/token.rs", "use crate::policy::KeyId;"),
            ("src/storage/a.rs", "use crate::{policy, token::{Digest, clock}, admin};"),
            ("src/admin/a.rs", "let x = crate::authorize::Caller::anonymous(None);"),
            ("src/grpc/a.rs", "use crate::server::Running;"),
            ("src/server/a.rs", "use crate::cli::Failure;"),
            ("src/elsewhere.rs", "fn a() {}"),
        ] {
            assert_eq!(found(path, text).len(), 1, "{path}: {text}");
        }
    }

    #[test]
    fn a_crate_in_the_wrong_module_is_found() {
        for (path, text) in [
            ("src/policy/a.rs", "use serde::Serialize;"),
            ("src/policy/a.rs", "fn a() -> uuid::Uuid { b }"),
            ("src/admin/a.rs", "use diesel::prelude::*;"),
            ("src/admin/a.rs", "fn a(error: diesel_async::pooled_connection::PoolError) {}"),
            ("src/authorize/a.rs", "use tonic::Status;"),
            ("src/authorize/a.rs", "use prost as messages;"),
            ("src/config/a.rs", "#[tonic::async_trait]"),
            ("src/admin/a.rs", "let hash = ::bcrypt::hash(a, 4);"),
            ("src/server/a.rs", "use anyhow::Context;"),
            ("src/grpc/a.rs", "#[derive(clap::Parser)]"),
        ] {
            assert_eq!(found(path, text).len(), 1, "{path}: {text}");
        }
    }

    #[test]
    fn what_is_allowed_or_only_talked_about_passes() {
        for (path, text) in [
            ("src/policy/a.rs", "use chrono::Utc;\nuse super::b::C;\nuse crate::policy::d;"),
            ("src/policy.rs", "mod a;\npub use a::B;\n// crate::clock, diesel::x"),
            ("src/storage/a.rs", "use diesel::sql_query;\nuse crate::{policy::KeyId, token};"),
            ("src/grpc/a.rs", "use tonic::Status;\nuse crate::storage::StorageError;"),
            ("src/grpc/convert/a.rs", "use super::super::error;\nuse super::admin_words;"),
            ("src/token/a.rs", "let word = self.tonic::<u8>(); my::diesel::x(\"tonic::Status\")"),
            ("src/lib.rs", "pub mod cli;"),
        ] {
            assert_eq!(found(path, text), Vec::<String>::new(), "{path}: {text}");
        }
    }

    #[test]
    fn the_module_list_is_read_from_code_not_from_comments() {
        let code = blank("//! pub mod a;\npub mod b;\n\n    pub mod c;\nmod d;");
        assert_eq!(declared_modules(&code), ["b", "c"]);
    }
}
