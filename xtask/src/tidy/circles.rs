//! Modules of a crate that import each other, directly or by way of others.
//!
//! A module is one with the modules inside it: those may know it, and it them. Of two that lie side by side, in the crate or in
//! another module, with all that is in them, only one may know the other. What counts is every path that begins with `crate::` or
//! `super::`; comments, unit tests and generated code do not.

use super::text::{is_generated, is_test, lines_without_tests};
use std::collections::{BTreeMap, BTreeSet};

/// A module, by the names on the way to it from the crate's root.
type Module<'a> = Vec<&'a str>;

/// Which modules each knows of those beside it.
type Knows<'a> = BTreeMap<Module<'a>, BTreeSet<Module<'a>>>;

/// A complaint for each circle.
pub fn complaints(files: &[(String, String)]) -> Vec<String> {
    let mut crates: BTreeMap<&str, BTreeMap<Module<'_>, String>> = BTreeMap::new();
    for (path, content) in
        files.iter().filter(|(path, content)| !is_test(path) && !is_generated(path, content))
    {
        let Some((folder, file)) = path.split_once("/src/") else { continue };
        let Some(name) = file.strip_suffix(".rs") else { continue };
        let module = if matches!(name, "lib" | "main") { Vec::new() } else { name.split('/').collect() };
        crates.entry(folder).or_default().entry(module).or_default().push_str(&code(content));
    }
    crates
        .iter()
        .flat_map(|(folder, modules)| {
            circles(&knows(modules)).into_iter().map(move |circle| format!("{folder}: {circle}"))
        })
        .collect()
}

/// A file without comments and unit tests.
fn code(content: &str) -> String {
    let lines = content.lines().take(lines_without_tests(content));
    let without_comment = |line: &'_ str| line.split_once("//").map_or(line.len(), |(code, _)| code.len());
    lines.map(|line| format!("{}\n", &line[..without_comment(line)])).collect()
}

fn knows<'a>(modules: &'a BTreeMap<Module<'a>, String>) -> Knows<'a> {
    let mut knows = Knows::new();
    for (module, code) in modules {
        for path in paths(code) {
            let known = resolved(module, &path, modules);
            let common = module.iter().zip(&known).take_while(|(a, b)| a == b).count();
            if common < module.len() && common < known.len() {
                let of = |module: &Module<'a>| module[..=common].to_vec();
                knows.entry(of(module)).or_default().insert(of(&known));
            }
        }
    }
    knows
}

/// The module that a path in `module` leads into.
fn resolved<'a>(module: &Module<'a>, path: &[&str], modules: &'a BTreeMap<Module<'a>, String>) -> Module<'a> {
    let ups = path.iter().take_while(|name| **name == "super").count();
    let (mut at, rest) = match path.split_first() {
        Some((&"crate", rest)) => (Vec::new(), rest),
        _ => (module[..module.len().saturating_sub(ups)].to_vec(), &path[ups..]),
    };
    for name in rest {
        let is_inside = |inside: &&Module<'a>| inside.starts_with(&at) && inside.get(at.len()) == Some(name);
        let Some(inside) = modules.keys().find(is_inside) else { break };
        at.push(inside[at.len()]);
    }
    at
}

/// All paths that begin with `crate` or `super`, those of lists in braces one by one.
fn paths(code: &str) -> Vec<Vec<&str>> {
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(start) = ["crate::", "super::"].iter().filter_map(|word| rest.find(word)).min() {
        let is_within =
            rest[..start].ends_with(|before: char| before.is_alphanumeric() || "_$:".contains(before));
        rest = if is_within { &rest[start + 1..] } else { read_path(&rest[start..], &[], &mut found) };
    }
    found
}

/// Reads the path, or the tree of paths, that `text` begins with; `before` stands before it. Returns what follows.
fn read_path<'t>(text: &'t str, before: &[&'t str], found: &mut Vec<Vec<&'t str>>) -> &'t str {
    let mut path = before.to_vec();
    let mut rest = text.trim_start();
    loop {
        if let Some(list) = rest.strip_prefix('{') {
            rest = list;
            while !rest.starts_with('}') && !rest.is_empty() {
                rest = read_path(rest, &path, found);
                // What else there is of it: another name.
                rest = &rest[rest.find([',', '}']).unwrap_or(rest.len())..];
                rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
            }
            return rest.strip_prefix('}').unwrap_or(rest);
        }
        let name = rest.find(|char: char| !char.is_alphanumeric() && char != '_').unwrap_or(rest.len());
        if name > 0 {
            path.push(&rest[..name]);
        }
        rest = &rest[name..];
        match rest.strip_prefix("::") {
            Some(more) if name > 0 => rest = more.trim_start(),
            _ => break,
        }
    }
    found.push(path);
    rest
}

/// Each set of modules of which all reach one another.
fn circles(knows: &Knows<'_>) -> Vec<String> {
    let mut circles = Vec::new();
    for module in knows.keys() {
        let is_back = |other: &&Module<'_>| reached(knows, other).contains(module);
        let circle: BTreeSet<&Module<'_>> = reached(knows, module).into_iter().filter(is_back).collect();
        if circle.first() != Some(&module) {
            continue;
        }
        let mut arrows = Vec::new();
        for from in &circle {
            let within = knows[*from].iter().filter(|to| circle.contains(to));
            arrows.extend(within.map(|to| format!("{} -> {}", from.join("::"), to.join("::"))));
        }
        circles.push(format!("modules import each other: {}", arrows.join(", ")));
    }
    circles
}

/// All modules that one knows, directly or by way of others.
fn reached<'k, 'a>(knows: &'k Knows<'a>, from: &'k Module<'a>) -> BTreeSet<&'k Module<'a>> {
    let mut reached = BTreeSet::new();
    let mut open = vec![from];
    while let Some(module) = open.pop() {
        for known in knows.get(module).into_iter().flatten() {
            if reached.insert(known) {
                open.push(known);
            }
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(files: &[(&str, &str)]) -> Vec<String> {
        let file =
            |(name, content): &(&str, &str)| (format!("crates/a/src/{name}.rs"), (*content).to_owned());
        complaints(&files.iter().map(file).collect::<Vec<_>>())
    }

    #[test]
    fn modules_that_import_each_other_are_found() {
        let circle = ["crates/a: modules import each other: x -> y, y -> x"];
        assert_eq!(check(&[("x", "use crate::y::Y;\n"), ("y", "use crate::x::X;\n")]), circle);
        assert_eq!(check(&[("x", "use super::y;\n"), ("y", "fn f() -> crate::x::X {\n")]), circle);
        assert_eq!(
            check(&[
                ("x", "use crate::{\n    b::B as C,\n    y::{self, Y},\n};\n"),
                ("y", "use super::{x::*};\n")
            ]),
            circle
        );
        assert_eq!(check(&[("x", "use crate::y::Y;\n"), ("y", "use crate::z;\n")]), [""; 0]);
    }

    #[test]
    fn a_circle_by_way_of_others_or_of_what_lies_inside_is_found() {
        assert_eq!(
            check(&[("x", "use crate::y::Y;\n"), ("y", "use crate::z::Z;\n"), ("z", "use crate::x::X;\n")]),
            ["crates/a: modules import each other: x -> y, y -> z, z -> x"]
        );
        assert_eq!(
            check(&[("x", ""), ("x/in", "use crate::y::Y;\n"), ("y", "use crate::x::X;\n")]),
            ["crates/a: modules import each other: x -> y, y -> x"]
        );
        assert_eq!(
            check(&[("x", ""), ("x/a", "use super::b::B;\n"), ("x/b", "use super::a::A;\n")]),
            ["crates/a: modules import each other: x::a -> x::b, x::b -> x::a"]
        );
    }

    #[test]
    fn a_module_and_what_lies_inside_are_one_and_tests_and_comments_do_not_count() {
        assert_eq!(check(&[("x", "use crate::x::a::A;\n"), ("x/a", "use super::X;\n")]), [""; 0]);
        let with_tests = "//! Of [`X`](crate::x::X).\n#[cfg(test)]\nmod tests {\n    use crate::x::X;\n}\n";
        assert_eq!(check(&[("x", "use crate::y::Y;\n"), ("y", with_tests)]), [""; 0]);
        assert_eq!(
            check(&[("x", "use crate::y::Y;\n"), ("y/tests", "use crate::x::X;\n"), ("y", "")]),
            [""; 0]
        );
        assert_eq!(check(&[("x", "use crate::y::Y;\n"), ("y", "$crate::x::X\n")]), [""; 0]);
    }
}
