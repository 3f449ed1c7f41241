//! What every command starts from: the settings it was given and where it prints.

use std::io::Read;
use std::path::Path;

use crate::args::GlobalArgs;
use crate::exit::Failure;
use crate::limits::CONFIG_FILE_BYTES_MAX;
use crate::output::Output;
use crate::settings::{Layers, Settings};

/// The layers of settings and the output of one run.
#[derive(Debug)]
pub(crate) struct Session {
    /// Where to print.
    pub(crate) output: Output,
    layers: Layers,
}

impl Session {
    /// Reads the settings file, the environment and `--set`.
    ///
    /// # Errors
    /// If the file cannot be read. Wrong settings are reported by [`Session::settings`], so that a
    /// command that needs none works with a broken file.
    pub(crate) fn open(global: &GlobalArgs, output: Output) -> Result<Self, Failure> {
        let mut layers = Layers::default();
        if let Some(path) = &global.config {
            layers.file(&path.display().to_string(), &read_settings(path)?);
        }
        // A name or value that is not UTF-8 cannot be one of ours.
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        layers.environment(variables);
        for assignment in &global.set {
            layers.assignment(assignment);
        }
        Ok(Self { output, layers })
    }

    /// Lays the value of a flag over a setting, if the flag was given.
    pub(crate) fn flag(&mut self, flag: &'static str, key: &str, value: Option<String>) {
        if let Some(value) = value {
            self.layers.flag_value(flag, key, value);
        }
    }

    /// The layers as they are now.
    pub(crate) fn layers(&self) -> &Layers {
        &self.layers
    }

    /// The layers, to lay one more over or under them.
    pub(crate) fn layers_mut(&mut self) -> &mut Layers {
        &mut self.layers
    }

    /// The final settings.
    ///
    /// # Errors
    /// If any of them is wrong; the failure names all of them.
    pub(crate) fn settings(&self) -> Result<Settings, Failure> {
        let problems = self.layers.problems();
        match problems {
            [] => Ok(Settings::from_layers(&self.layers)),
            [one] => Err(Failure::usage(one.to_string())),
            many => {
                let lines: Vec<String> = many.iter().map(|one| format!("\n  {one}")).collect();
                Err(Failure::usage(format!("{} settings are wrong:{}", many.len(), lines.concat())))
            }
        }
    }
}

/// The text of a settings file; `-` is standard input.
///
/// # Errors
/// If it cannot be read, is not UTF-8, or is too large to be one.
pub(crate) fn read_settings(path: &Path) -> Result<String, Failure> {
    let shown = path.display();
    let unreadable = |error: std::io::Error| {
        Failure::usage(format!("cannot read settings from {shown}: {error}"))
            .hint("`pyralog config print-default > pyralog.toml` writes a file to start from")
    };
    let mut text = Vec::new();
    let limit = CONFIG_FILE_BYTES_MAX + 1;
    if path == Path::new("-") {
        std::io::stdin().lock().take(limit).read_to_end(&mut text).map_err(unreadable)?;
    } else {
        let file = std::fs::OpenOptions::new().read(true).open(path).map_err(unreadable)?;
        file.take(limit).read_to_end(&mut text).map_err(unreadable)?;
    }
    if text.len() as u64 >= limit {
        return Err(Failure::usage(format!("{shown} is too large to be a settings file")));
    }
    String::from_utf8(text).map_err(|_| Failure::usage(format!("{shown} is not UTF-8")))
}
