//! What `template.yaml` promises, beyond what the linters know.

mod document;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use functions::settings::{Platform, Settings};
use shared::settings::Reader;

use super::tools::{dir, python, root, succeed};
use document::{
    environment, property, references, resources, statements, strings, template, title,
};

/// Each function: its binary, the secrets it may read, its routes.
const FUNCTIONS: [(&str, &[&str], &[&str]); 8] = [
    ("register", &["DatabaseSecretArn", "PepperSecretArn"], &["POST /register"]),
    (
        "login",
        &["DatabaseSecretArn", "PepperSecretArn", "SigningSecretArn"],
        &[
            "POST /login",
            "POST /login/second-factor",
            "POST /login/passkey/options",
            "POST /login/passkey",
        ],
    ),
    (
        "profile",
        &["DatabaseSecretArn", "PepperSecretArn"],
        &[
            "GET /me",
            "PATCH /me",
            "DELETE /me",
            "GET /me/export",
            "POST /me/password",
            "GET /me/factors",
            "POST /me/factors/totp",
            "POST /me/factors/totp/confirm",
            "POST /me/factors/recovery-codes",
            "POST /me/factors/passkey/options",
            "POST /me/factors/passkey",
            "DELETE /me/factors/{id}",
            "POST /me/email",
        ],
    ),
    (
        "session",
        &["DatabaseSecretArn", "SigningSecretArn"],
        &["POST /token/refresh", "POST /logout", "GET /me/sessions", "DELETE /me/sessions/{id}"],
    ),
    (
        "users",
        &["DatabaseSecretArn", "PepperSecretArn"],
        &[
            "GET /users",
            "GET /users/{id}",
            "PATCH /users/{id}",
            "POST /users/{id}/revoke",
            "POST /users/{id}/unlock",
            "POST /users/{id}/reset-factors",
            "POST /users/{id}/send-reset",
            "GET /audit",
        ],
    ),
    (
        "recovery",
        &["DatabaseSecretArn", "PepperSecretArn", "LinksSecretArn"],
        &[
            "POST /password/forgot",
            "POST /password/reset",
            "POST /email/verify",
            "POST /email/verification",
        ],
    ),
    ("courier", &["DatabaseSecretArn", "LinksSecretArn", "SmtpSecretArn"], &[]),
    (
        "discovery",
        &["DatabaseSecretArn"],
        &[
            "GET /.well-known/jwks.json",
            "GET /.well-known/change-password",
            "GET /openapi.json",
            "GET /health",
        ],
    ),
];
/// The routes that each cost a hash.
const PASSWORD_ROUTES: [&str; 6] = [
    "POST /register",
    "POST /login",
    "DELETE /me",
    "POST /me/password",
    "POST /me/email",
    "POST /password/reset",
];
/// Parameters that are no secrets and stand in an environment.
const PLAIN: [&str; 2] = ["MailFrom", "PublicUrl"];
/// Everything a function may do, but for joining a VPC.
const ACTIONS: [&str; 3] =
    ["secretsmanager:GetSecretValue", "logs:CreateLogStream", "logs:PutLogEvents"];
/// A gateway waits this long for a function, in seconds, and no longer.
const GATEWAY_TIMEOUT: u64 = 30;

/// Those that a gateway calls.
fn behind_the_gateway() -> impl Iterator<Item = &'static str> {
    FUNCTIONS.iter().filter(|(.., routes)| !routes.is_empty()).map(|(binary, ..)| *binary)
}

/// Each route in both forms, such as `POST /login`, and the binary that answers it.
pub(super) fn routes() -> BTreeSet<(String, String)> {
    let pairs =
        FUNCTIONS.iter().flat_map(|(binary, _, keys)| keys.iter().map(move |key| (binary, key)));
    pairs
        .flat_map(|(binary, key)| {
            let behind_api = key.replacen(" /", " /api/", 1);
            [((*key).to_owned(), (*binary).to_owned()), (behind_api, (*binary).to_owned())]
        })
        .collect()
}

#[test]
fn sam_validates_and_lints_the_template() {
    let said = succeed(python().args([
        "-m",
        "samcli",
        "validate",
        "--lint",
        "--template",
        "template.yaml",
    ]));
    assert!(said.contains("is a valid SAM Template"), "{said}");
}

#[test]
fn cfn_lint_has_not_even_a_warning() {
    let lint = dir().join("bin/cfn-lint");
    let args =
        ["--non-zero-exit-code", "warning", "--regions", "eu-central-1", "us-east-1", "--template"];
    let said = succeed(python().arg(lint).args(args).arg("template.yaml"));
    assert_eq!(said.trim(), "");
}

#[test]
fn every_lambda_binary_has_its_function() {
    let files = std::fs::read_dir(root().join("functions/src/bin")).unwrap();
    let stems = files.map(|file| file.unwrap().path().file_stem().unwrap().to_owned());
    let built: BTreeSet<_> = stems.map(|stem| title(stem.to_str().unwrap()) + "Function").collect();
    let declared = resources("AWS::Serverless::Function").into_keys().map(str::to_owned);
    assert_eq!(declared.collect::<BTreeSet<_>>(), built);
    let asserted = FUNCTIONS.iter().map(|(binary, ..)| title(binary) + "Function");
    assert_eq!(asserted.collect::<BTreeSet<_>>(), built);
}

#[test]
fn functions_run_their_binary_on_al2023_with_the_processor_of_the_parameter() {
    for (binary, ..) in FUNCTIONS {
        let name = title(binary) + "Function";
        let whole = &template()["Resources"][&name];
        let function = &whole["Properties"];
        assert_eq!(whole["Metadata"]["BuildMethod"], "rust-cargolambda", "{name}");
        assert_eq!(whole["Metadata"]["BuildProperties"]["Binary"], binary);
        assert_eq!(property(function, "Runtime"), "provided.al2023", "{name}");
        assert_eq!(property(function, "Handler"), "bootstrap", "{name}");
        assert_eq!(property(function, "CodeUri"), "functions", "{name}");
        assert_eq!(property(function, "Architectures")[0]["Ref"], "Architecture", "{name}");
        let in_time = property(function, "Timeout").as_u64().unwrap() < GATEWAY_TIMEOUT;
        assert!(in_time || !behind_the_gateway().any(|other| other == binary), "{name}");
    }
    assert_eq!(template()["Parameters"]["Architecture"]["Default"], "arm64");
}

#[test]
fn functions_that_hash_passwords_have_one_whole_processor() {
    let functions = resources("AWS::Serverless::Function");
    for name in ["LoginFunction", "ProfileFunction", "RecoveryFunction", "RegisterFunction"] {
        assert_eq!(functions[name]["MemorySize"], 1769, "{name}");
    }
}

#[test]
fn the_environment_carries_secrets_by_arn_only() {
    for (name, function) in resources("AWS::Serverless::Function") {
        for (variable, value) in environment(function) {
            let parameter = value["Ref"].as_str().filter(|name| !PLAIN.contains(name));
            if let Some(parameter) = parameter {
                assert!(variable.ends_with("_SECRET_ARN"), "{name}: {variable}");
                let pattern =
                    template()["Parameters"][parameter]["AllowedPattern"].as_str().unwrap();
                assert!(pattern.contains(":secretsmanager:"), "{parameter}: {pattern}");
            } else {
                assert!(
                    !variable.contains("SECRET") && !variable.contains("KEY"),
                    "{name}: {variable}"
                );
                assert!(!value.to_string().contains("resolve:"), "{name}: {variable}");
            }
            assert_ne!(variable, "DATABASE_URL", "{name}: it holds a password");
        }
    }
    for file in ["template.yaml", "samconfig.toml"] {
        let text = std::fs::read_to_string(root().join(file)).unwrap();
        for sign in ["postgres://postgres", "AKIA", "PRIVATE KEY", "NoEcho"] {
            assert!(!text.contains(sign), "{file} contains {sign}");
        }
    }
}

#[test]
fn each_function_reads_exactly_its_own_secrets() {
    let functions = resources("AWS::Serverless::Function");
    let roles = resources("AWS::IAM::Role");
    for (binary, secrets, _) in FUNCTIONS {
        let expected: BTreeSet<&str> = secrets.iter().copied().collect();
        let function = functions[(title(binary) + "Function").as_str()];
        let given = environment(function).into_values().filter_map(|value| value["Ref"].as_str());
        let given = given.filter(|name| !PLAIN.contains(name));
        assert_eq!(given.collect::<BTreeSet<_>>(), expected, "{binary}: environment");

        let role = statements(roles[(title(binary) + "Role").as_str()]);
        let reads = role.iter().filter(|one| one["Action"] == "secretsmanager:GetSecretValue");
        let granted = reads.flat_map(|one| one["Resource"].as_array().unwrap());
        let granted = granted.map(|resource| resource["Ref"].as_str().unwrap());
        assert_eq!(granted.collect::<BTreeSet<_>>(), expected, "{binary}: role");
    }
}

#[test]
fn each_function_has_a_role_of_its_own_that_may_do_no_more_than_it_needs() {
    let roles = resources("AWS::IAM::Role");
    assert_eq!(roles.len(), FUNCTIONS.len());
    for (name, function) in resources("AWS::Serverless::Function") {
        let role = name.replace("Function", "Role");
        assert_eq!(function["Role"]["Fn::GetAtt"][0], role.as_str(), "{name}");
        for statement in statements(roles[role.as_str()]) {
            assert_eq!(statement["Effect"], "Allow");
            assert_ne!(statement["Resource"], "*", "{role}");
            for action in strings(&statement["Action"]) {
                assert!(ACTIONS.contains(&action), "{role}: {action}");
            }
        }
        let managed = &roles[role.as_str()]["ManagedPolicyArns"]["Fn::If"];
        assert_eq!(managed[0], "InVpc", "{role}");
        assert_eq!(managed[1][0]["Ref"], "NetworkInterfaces", "{role}");
    }
}

#[test]
fn only_the_network_interfaces_may_be_any() {
    let policies = resources("AWS::IAM::ManagedPolicy");
    assert_eq!(policies.keys().copied().collect::<Vec<_>>(), ["NetworkInterfaces"]);
    let statement = &policies["NetworkInterfaces"]["PolicyDocument"]["Statement"][0];
    for action in strings(&statement["Action"]) {
        assert!(action.starts_with("ec2:") && !action.contains('*'), "{action}");
    }
}

#[test]
fn every_function_logs_into_its_own_group_and_every_group_forgets() {
    let groups = resources("AWS::Logs::LogGroup");
    for (name, function) in resources("AWS::Serverless::Function") {
        let group = name.replace("Function", "Logs");
        assert_eq!(function["LoggingConfig"]["LogGroup"]["Ref"], group.as_str(), "{name}");
        assert_eq!(function["LoggingConfig"]["LogFormat"], "JSON", "{name}");
        assert!(groups.contains_key(group.as_str()), "{group}");
    }
    for (name, group) in groups {
        assert_eq!(group["RetentionInDays"]["Ref"], "LogRetentionDays", "{name}");
    }
}

#[test]
fn every_route_is_there_in_both_forms_and_leads_to_its_function() {
    let routes = resources("AWS::ApiGatewayV2::Route");
    let integrations = resources("AWS::ApiGatewayV2::Integration");
    let mut found = BTreeMap::new();
    for route in routes.values() {
        let target = route["Target"]["Fn::Sub"].as_str().unwrap();
        let integration = target.trim_start_matches("integrations/${").trim_end_matches('}');
        let integration = integrations[integration];
        assert_eq!(integration["PayloadFormatVersion"], "2.0");
        let function = integration["IntegrationUri"]["Fn::GetAtt"][0].as_str().unwrap();
        found.insert(route["RouteKey"].as_str().unwrap().to_owned(), function.to_owned());
    }
    let expected = self::routes();
    let expected = expected.into_iter().map(|(key, binary)| (key, title(&binary) + "Function"));
    assert_eq!(found, expected.collect());
}

#[test]
fn the_gateway_may_invoke_every_function() {
    let permissions = resources("AWS::Lambda::Permission");
    let mut invoked = BTreeSet::new();
    for (name, permission) in permissions {
        if name == "CourierPermission" {
            continue;
        }
        assert_eq!(permission["Principal"], "apigateway.amazonaws.com", "{name}");
        let source = permission["SourceArn"]["Fn::Sub"].as_str().unwrap();
        assert!(source.contains(":execute-api:") && source.contains("${Api}/"), "{name}: {source}");
        invoked.insert(permission["FunctionName"]["Ref"].as_str().unwrap());
    }
    let functions: BTreeSet<_> = behind_the_gateway().map(|one| title(one) + "Function").collect();
    assert_eq!(invoked, functions.iter().map(String::as_str).collect());
}

#[test]
fn the_courier_is_started_every_minute_and_never_twice_at_once() {
    let courier = resources("AWS::Serverless::Function")["CourierFunction"];
    assert_eq!(courier["ReservedConcurrentExecutions"], 1);
    let seconds = courier["Timeout"].as_u64().unwrap();
    let mut reader = Reader::from_pairs([("", ""); 0]);
    let settings = Settings::read(&mut reader, Platform::Lambda).courier;
    assert!(settings.run < Duration::from_mins(1), "the next one would be refused");
    assert!(settings.run + settings.timeout < Duration::from_secs(seconds));
    let rule = resources("AWS::Events::Rule")["CourierRule"];
    assert_eq!(rule["ScheduleExpression"], "rate(1 minute)");
    assert_eq!(rule["Targets"][0]["Arn"]["Fn::GetAtt"][0], "CourierFunction");
    let permission = resources("AWS::Lambda::Permission")["CourierPermission"];
    assert_eq!(permission["Principal"], "events.amazonaws.com");
    assert_eq!(permission["FunctionName"]["Ref"], "CourierFunction");
    assert_eq!(permission["SourceArn"]["Fn::GetAtt"][0], "CourierRule");
}

#[test]
fn password_routes_have_the_tighter_throttle_and_the_stage_waits_for_them() {
    let stage = &template()["Resources"]["ApiStage"];
    let settings = stage["Properties"]["RouteSettings"].as_object().unwrap();
    let routes = resources("AWS::ApiGatewayV2::Route");
    let tight: BTreeMap<_, _> = routes
        .into_iter()
        .map(|(name, route)| (name, route["RouteKey"].as_str().unwrap()))
        .filter(|(_, key)| PASSWORD_ROUTES.contains(&key.replacen(" /api/", " /", 1).as_str()))
        .collect();
    assert_eq!(
        settings.keys().map(String::as_str).collect::<BTreeSet<_>>(),
        tight.values().copied().collect()
    );
    for (key, throttle) in settings {
        assert_eq!(throttle["ThrottlingRateLimit"]["Ref"], "PasswordRate", "{key}");
        assert_eq!(throttle["ThrottlingBurstLimit"]["Ref"], "PasswordRate", "{key}");
    }
    let waits: BTreeSet<_> = strings(&stage["DependsOn"]).into_iter().collect();
    assert_eq!(waits, tight.into_keys().collect());
    let rate = |name: &str| template()["Parameters"][name]["Default"].as_u64().unwrap();
    assert!(rate("PasswordRate") < rate("RequestRate"));
}

#[test]
fn everything_referred_to_exists() {
    let mut names = BTreeSet::new();
    references(template(), &mut names);
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        let known =
            ["Resources", "Parameters"].iter().any(|kind| !template()[kind][&name].is_null());
        assert!(known || name.starts_with("AWS::"), "{name} is referred to but not there");
    }
}

#[test]
fn a_release_build_unwinds() {
    // `sam build` compiles with --release, and cargo-lambda then sets panic = "abort" unless the
    // profile itself says otherwise: one panic would end the sandbox.
    let text = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let (_, release) = text.split_once("\n[profile.release]\n").unwrap();
    let release = release.split("\n[").next().unwrap();
    assert!(release.lines().any(|line| line == "panic = \"unwind\""), "{release}");
}
