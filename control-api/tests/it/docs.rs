//! `docs/api.md` is complete.

use crate::errors::guarded;
use std::path::Path;

fn sources(folder: &Path) -> String {
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let text = |path: std::path::PathBuf| {
        if path.is_dir() {
            sources(&path)
        } else {
            std::fs::read_to_string(path).unwrap()
        }
    };
    entries.map(text).collect()
}

#[test]
fn every_route_and_every_code_is_documented() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("../docs/api.md")).unwrap();
    for (method, path) in guarded() {
        let template = path.replace("/1", "/{id}");
        let file = template.rsplit('/').next().unwrap();
        let described = page.contains(&format!("`{method} {template}`"))
            || (template.contains("/hls/") && page.contains(&format!("`{file}`")));
        assert!(described, "{method} {template}");
    }
    let code = sources(&root.join("src"));
    let codes: Vec<_> = code
        .split(".code(\"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap())
        .collect();
    assert!(codes.len() > 10);
    for code in codes {
        assert!(page.contains(&format!("`{code}`")), "{code}");
    }
}
