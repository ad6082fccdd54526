//! The page around its sections, and the form that asks for the token.

use maud::{DOCTYPE, Markup, html};

use super::{Live, sections};

fn head(title: &str, rest: &Markup) -> Markup {
    html! {
        head {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width,initial-scale=1";
            meta name="color-scheme" content="light dark";
            title { (title) }
            link rel="stylesheet" href="page.css";
            (rest)
        }
    }
}

/// The page.
pub(super) fn page(live: &Live) -> String {
    let refresh = html! {
        script defer src="page.js" {}
        // Without scripts it is loaded anew instead.
        noscript { meta http-equiv="refresh" content="15"; }
    };
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            (head("Tiltmeter guard", &refresh))
            body {
                a.skip href="#board" { "Skip to the figures" }
                header.top {
                    p.brand { "Tiltmeter guard" }
                    nav aria-label="Sections" {
                        ul {
                            li { a href="#traffic" { "Traffic" } }
                            li { a href="#risk" { "Risk" } }
                            li { a href="#examples" { "Examples" } }
                            li { a href="#failures" { "Failures" } }
                            @if !live.drift.is_empty() { li { a href="#answers" { "Answers" } } }
                        }
                    }
                    button #pause type="button" hidden { "Pause" }
                }
                main #board tabindex="-1" { (sections::all(live)) }
                p #lost role="status" hidden { "The gateway does not answer. The figures below are the last that it gave." }
            }
        }
    };
    page.into_string()
}

/// The form that asks for the token.
pub(super) fn login(is_wrong: bool) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            (head("Tiltmeter guard: token", &html! {}))
            body {
                main.login {
                    h1 { "Tiltmeter guard" }
                    form method="post" action="login" {
                        label for="token" { "Token" }
                        input #token name="token" type="password" autocomplete="current-password" required
                            autofocus aria-describedby="where" aria-invalid=[is_wrong.then_some("true")];
                        @if is_wrong { p.wrong role="alert" { "This is not the token." } }
                        p #where .note { "The environment variable that the configuration names by " code { "server.admin_token_env" } " holds it." }
                        button type="submit" { "Open the page" }
                    }
                }
            }
        }
    };
    page.into_string()
}
