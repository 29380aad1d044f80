#!/usr/bin/env bash
# Checks what lies in this folder, as far as this machine can: neither a cluster nor a Docker engine is needed. What
# cannot be checked, because a tool is missing, is said at the end. Exit code 1 when something is wrong.
#
#   deploy/check.sh
#
# Tools, each used if it is there: helm, kubeconform, promtool, jq, systemd-analyze, shellcheck, hadolint, docker compose,
# cargo, python3 with yaml. helm and promtool are also looked for in ~/go/bin (go install helm.sh/helm/v3/cmd/helm@latest;
# promtool comes with Debian's package prometheus).
#
# That every metric, setting and runbook named here exists is checked by `cargo test` (tests/it/deploy.rs and
# tests/architecture/deploy.rs).
# shellcheck disable=SC2317 # functions are run by their names
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
PATH="$PATH:$HOME/go/bin"

chart=helm/keystile
alerts=$chart/files/alerts.yaml
dashboard=$chart/files/dashboard.json
# What the chart is rendered for; its kubeVersion says from which version on it works.
kubernetes=1.31.0
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failed=0
skipped=()

has() { command -v "$1" >/dev/null 2>&1; }

skip() { skipped+=("$1"); }

# Runs a check by its name; what it prints is shown where it fails.
check() {
    local name=$1
    shift
    if "$@" >"$scratch/output" 2>&1; then
        printf 'ok      %s\n' "$name"
    else
        printf 'FAILED  %s\n' "$name"
        sed 's/^/        /' "$scratch/output"
        failed=1
    fi
}

render() { helm template keystile "$chart" --kube-version "$kubernetes" --namespace keystile "$@"; }

# The chart must not render: succeeds if it says why, in these words.
refuses() {
    local words=$1
    shift
    if render "$@" >/dev/null 2>"$scratch/refusal"; then
        echo "it renders" && return 1
    fi
    grep -F -- "$words" "$scratch/refusal" || { cat "$scratch/refusal" && return 1; }
}

# Rendered with these values, a pod gets at least the time that its drain takes.
grace_covers_drain() {
    render "$@" | awk '
        /terminationGracePeriodSeconds:/ { grace = $2 }
        /KEYSTILE_DRAIN_(DELAY|TIMEOUT)/ { gsub(/[^0-9]/, "", $6); drain += $6 }
        END { print "grace " grace ", drain " drain; exit !(grace > drain) }'
}

check_chart() {
    if ! has helm; then
        skip "helm: the chart is neither linted nor rendered"
        return
    fi
    local values name
    for values in "$chart"/ci/*-values.yaml; do
        name=$(basename "$values" -values.yaml)
        check "helm lint, $name" helm lint "$chart" --strict --kube-version "$kubernetes" --values "$values"
        check "helm template, $name" render --values "$values"
        cp "$scratch/output" "$scratch/$name.rendered.yaml"
    done
    local some=(--set database.existingSecret=x)
    check "refused: no database" refuses "database.existingSecret" --set replicaCount=2
    check "refused: an unknown value" refuses "additional properties 'replicas' not allowed" "${some[@]}" --set replicas=2
    check "refused: a certificate without TLS" refuses "would speak plaintext" "${some[@]}" --set tls.existingSecret=y
    check "refused: TLS without a certificate" refuses "name a Secret" "${some[@]}" --set tls.enabled=true
    check "refused: an older Kubernetes" refuses "incompatible" "${some[@]}" --kube-version 1.26.0
    check "a pod's grace covers its drain" grace_covers_drain "${some[@]}"
    check "a pod's grace follows its drain" grace_covers_drain "${some[@]}" --set drain.delaySeconds=90
    if has kubeconform && kubeconform -kubernetes-version "$kubernetes" -ignore-missing-schemas \
        "$scratch/trial.rendered.yaml" >/dev/null 2>&1; then
        check "kubeconform" kubeconform -strict -ignore-missing-schemas -kubernetes-version "$kubernetes" \
            "$scratch"/*.rendered.yaml
    else
        skip "kubeconform (or the schemas that it downloads): rendered manifests are not compared with Kubernetes"
    fi
}

check_monitoring() {
    if has jq; then
        check "dashboard is JSON" jq empty "$dashboard"
        check "values schema is JSON" jq empty "$chart/values.schema.json"
    else
        skip "jq: JSON is not parsed"
    fi
    if ! has promtool; then
        skip "promtool: alerts and queries are not checked"
        return
    fi
    check "promtool check rules" promtool check rules "$alerts"
    check "promtool test rules" promtool test rules alerts_test.yaml
    if has jq; then
        # Every query of the dashboard as a rule, with Grafana's variables filled in.
        jq '{groups: [{name: "dashboard", rules: [.panels[].targets[]? | .expr
            | gsub("\\$__rate_interval"; "5m") | gsub("\\$(job|namespace|instance)"; ".*")]
            | to_entries | map({record: "query:\(.key)", expr: .value})}]}' "$dashboard" >"$scratch/queries.yaml"
        check "queries of the dashboard" promtool check rules "$scratch/queries.yaml"
    fi
}

check_unit() {
    if ! has systemd-analyze; then
        skip "systemd-analyze: the unit is not verified"
        return
    fi
    # The program is not installed here, and verify looks for it.
    sed 's#/usr/local/bin/keystile#/bin/true#' systemd/keystile.service >"$scratch/keystile.service"
    check "systemd-analyze verify" systemd-analyze verify "$scratch/keystile.service"
    # In tenths: 20 is an exposure of 2.0, "OK".
    check "systemd-analyze security" systemd-analyze security --offline=true --threshold=20 \
        "$scratch/keystile.service"
}

check_containers() {
    if docker compose version >/dev/null 2>&1; then
        check "docker compose config" docker compose --file compose/compose.yaml config --quiet
    else
        skip "docker compose: compose.yaml is only parsed"
    fi
    if has hadolint; then check "hadolint" hadolint Dockerfile; else skip "hadolint: the Dockerfile is not linted"; fi
    if has cargo; then
        check "the image has all that the manifest names" builds_from_what_is_copied
    else
        skip "cargo: whether the image has what it is built from"
    fi
    # In a copy: secrets that are there already stay as they are.
    mkdir "$scratch/compose"
    cp compose/make-secrets.sh "$scratch/compose/"
    check "secrets are made, and made once" secrets_are_made_once
}

# Does cargo find every target in what the Dockerfile copies, and may all of it into the build?
builds_from_what_is_copied() {
    local parts part
    parts=$(sed -n 's/^COPY \([^-].*\) [^ ]*$/\1/p' Dockerfile)
    mkdir "$scratch/image"
    for part in $parts; do
        grep -qxF "!$part" ../.dockerignore || { echo ".dockerignore keeps $part out" && return 1; }
        cp -r "../$part" "$scratch/image/"
    done
    cargo metadata --manifest-path "$scratch/image/Cargo.toml" --locked --offline --no-deps --format-version 1
}

secrets_are_made_once() {
    local secrets="$scratch/compose/secrets" before
    "$scratch/compose/make-secrets.sh"
    before=$(cat "$secrets"/*)
    "$scratch/compose/make-secrets.sh"
    [ "$before" = "$(cat "$secrets"/*)" ] || return 1
    [ "$(stat -c %a "$secrets")" = 700 ] || return 1
    grep -qF ":$(cat "$secrets/postgres_password")@" "$secrets/database_url"
}

check_text() {
    if has python3 && python3 -c 'import yaml' 2>/dev/null; then
        check "YAML parses" python3 -c 'import sys, yaml
for path in sys.argv[1:]: list(yaml.safe_load_all(open(path, encoding="utf-8")))' \
            compose/compose.yaml alerts_test.yaml "$alerts" "$chart/Chart.yaml" "$chart/values.yaml" "$chart"/ci/*.yaml
    else
        skip "python3 with yaml: YAML is not parsed"
    fi
    if has shellcheck; then
        check "shellcheck" shellcheck check.sh check-fresh-machine.sh install-postgres.sh compose/make-secrets.sh
    else
        skip "shellcheck: scripts are not linted"
    fi
}

check_chart
check_monitoring
check_unit
check_containers
check_text
if [ "${#skipped[@]}" -gt 0 ]; then printf 'skipped %s\n' "${skipped[@]}"; fi
exit "$failed"
