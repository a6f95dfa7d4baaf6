//! `pmatch`: whether a path lies at or below another, compared part by part.

use super::glob::Glob;

/// A path whose parts may be shell patterns; what lies at or below it fits.
#[derive(Debug, Clone)]
pub(in crate::rules) struct Above {
    parts: Box<[Glob]>,
}

impl Above {
    pub(in crate::rules) fn new(path: &str) -> Above {
        Above { parts: parts(path).map(|it| Glob::new(it, true)).collect() }
    }

    pub(in crate::rules) fn fits(&self, path: &str) -> bool {
        let mut below = parts(path);
        self.parts.iter().all(|part| below.next().is_some_and(|it| part.fits(it)))
    }
}

/// The parts of a path; several slashes are as good as one.
fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|it| !it.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lie_below_whole_parts() {
        for (above, yes, no) in [
            ("/var/run", "/var/run/docker", "/var"),
            ("/var/run/", "/var//run", "/var/runner"),
            ("/opt/*/sub", "/opt/a/sub/x", "/opt/a/b/sub"),
            ("/opt/di[!r]", "/opt/dit", "/opt/dir"),
            ("/opt/?", "/opt/a", "/opt/ab"),
        ] {
            assert!(Above::new(above).fits(yes), "{above} {yes}");
            assert!(!Above::new(above).fits(no), "{above} {no}");
        }
        assert!(Above::new("/").fits("/") && Above::new("/").fits("/etc"));
    }
}
