//! The modules of a crate.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use crate::syntax::{Body, Child};

/// A crate, without the code that is compiled only for unit tests.
#[derive(Default)]
pub(crate) struct Crate {
    /// All modules; the first one is the root.
    modules: Vec<Module>,
    /// The module that defines each `macro_rules!` macro.
    macros: BTreeMap<String, ModuleId>,
}

/// Identifies a module in its crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ModuleId(usize);

/// A module.
pub(crate) struct Module {
    pub(crate) parent: Option<ModuleId>,
    /// Its own file, or for an inline module that of its parent.
    pub(crate) file: PathBuf,
    pub(crate) body: Rc<Body>,
    pub(crate) children: BTreeMap<String, ModuleId>,
}

impl Crate {
    /// Loads the crate with this root file.
    pub(crate) fn load(root: &Path, files: &mut Files<'_>) -> Result<Self, LoadError> {
        let mut loaded = Self::default();
        let body = files.parse(root)?;
        loaded.add(None, root.to_owned(), body, &folder(root), files)?;
        Ok(loaded)
    }

    pub(crate) fn root(&self) -> ModuleId {
        ModuleId(0)
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = ModuleId> + use<> {
        (0..self.modules.len()).map(ModuleId)
    }

    #[expect(clippy::indexing_slicing, reason = "no module is ever removed")]
    pub(crate) fn module(&self, id: ModuleId) -> &Module {
        &self.modules[id.0]
    }

    /// The module that defines a `macro_rules!` macro.
    pub(crate) fn macro_rules(&self, name: &str) -> Option<ModuleId> {
        self.macros.get(name).copied()
    }

    /// Adds a module and its descendants. The files of its children are in the folder `below`.
    fn add(
        &mut self,
        parent: Option<ModuleId>,
        file: PathBuf,
        body: Rc<Body>,
        below: &Path,
        files: &mut Files<'_>,
    ) -> Result<ModuleId, LoadError> {
        let id = ModuleId(self.modules.len());
        self.macros.extend(body.macros.iter().map(|name| (name.clone(), id)));
        let children = BTreeMap::new();
        self.modules.push(Module { parent, file: file.clone(), body: body.clone(), children });
        for child in &body.children {
            let (file, body, below) = files.locate(child, &file, below)?;
            let added = self.add(Some(id), file, body, &below, files)?;
            if let Some(module) = self.modules.get_mut(id.0) {
                module.children.insert(child.name.clone(), added);
            }
        }
        Ok(id)
    }
}

/// Source files, each parsed once.
pub(crate) struct Files<'a> {
    read: &'a dyn Fn(&Path) -> io::Result<String>,
    parsed: BTreeMap<PathBuf, Rc<Body>>,
}

impl<'a> Files<'a> {
    pub(crate) fn new(read: &'a dyn Fn(&Path) -> io::Result<String>) -> Self {
        Self { read, parsed: BTreeMap::new() }
    }

    fn parse(&mut self, file: &Path) -> Result<Rc<Body>, LoadError> {
        if let Some(body) = self.parsed.get(file) {
            return Ok(body.clone());
        }
        let text = (self.read)(file).map_err(|error| LoadError::Read(file.to_owned(), error))?;
        let body = Body::parse(&text).map_err(|error| LoadError::Parse(file.to_owned(), error))?;
        let body = Rc::new(body);
        self.parsed.insert(file.to_owned(), body.clone());
        Ok(body)
    }

    /// Finds a module that is declared in the file `above`, whose children have their files in the
    /// folder `beside`. Returns its file, its body, and the folder with the files of its children.
    fn locate(
        &mut self,
        child: &Child,
        above: &Path,
        beside: &Path,
    ) -> Result<(PathBuf, Rc<Body>, PathBuf), LoadError> {
        let below = beside.join(&child.name);
        if let Some(body) = &child.body {
            return Ok((above.to_owned(), body.clone(), below));
        }
        if let Some(path) = &child.path {
            let file = normalized(&folder(above).join(path));
            return Ok((file.clone(), self.parse(&file)?, folder(&file)));
        }
        let mut file = below.with_extension("rs");
        let mut body = self.parse(&file);
        if matches!(body, Err(LoadError::Read(..))) {
            file = below.join("mod.rs");
            body = self.parse(&file);
        }
        Ok((file, body?, below))
    }
}

fn folder(file: &Path) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).to_owned()
}

/// Removes `..` from the path, so that there is only one path for each file.
fn normalized(path: &Path) -> PathBuf {
    let mut normalized = PathBuf::new();
    for component in path.components() {
        if component == Component::ParentDir && normalized.file_name().is_some() {
            normalized.pop();
        } else {
            normalized.push(component);
        }
    }
    normalized
}

/// Why a crate cannot be loaded.
#[derive(Debug)]
pub(crate) enum LoadError {
    Read(PathBuf, io::Error),
    Parse(PathBuf, syn::Error),
}

impl Display for LoadError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(file, error) => write!(f, "cannot read {}: {error}", file.display()),
            Self::Parse(file, error) => write!(f, "cannot parse {}: {error}", file.display()),
        }
    }
}

impl std::error::Error for LoadError {}
