//! Fields of a pod's containers, read as the plugin `k8saudit` reads them: what is
//! missing in one container is left out, or makes the whole field missing, field by field.

use super::json::Json;
use super::values::{Found, Missing, Values, spread};

/// The lists of containers a pod has.
pub(super) const CONTAINER_LISTS: [&str; 3] =
    ["containers", "initContainers", "ephemeralContainers"];

/// A field that every list of containers has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ContainerField {
    Name,
    Image,
    Repository,
    Command,
    Args,
    HostPort,
    /// The values under these keys.
    Keys(&'static [&'static str]),
    /// The values under this key, and for each container without it the pod's, or 0.
    Effective(&'static str),
}

impl ContainerField {
    /// Where in a container it is read from.
    pub(super) fn keys(&self) -> &[&'static str] {
        match self {
            ContainerField::Name => &["name"],
            ContainerField::Image | ContainerField::Repository => &["image"],
            ContainerField::Command => &["command"],
            ContainerField::Args => &["args"],
            ContainerField::HostPort => &["ports", "hostPort"],
            ContainerField::Keys(keys) => keys,
            ContainerField::Effective(key) => std::slice::from_ref(key),
        }
    }
}

/// One line of the table.
#[derive(Debug, Clone, Copy)]
pub(super) struct KnownOfContainer {
    pub(super) name: &'static str,
    pub(super) field: ContainerField,
    /// Where it is read from, as the documentation says it.
    #[cfg_attr(not(test), expect(dead_code, reason = "the documentation is held against it"))]
    pub(super) from: &'static str,
}

const fn known(name: &'static str, field: ContainerField, from: &'static str) -> KnownOfContainer {
    KnownOfContainer { name, field, from }
}

/// The fields of containers, behind `ka.req.pod.LIST.`.
pub(super) const CONTAINER_FIELDS: &[KnownOfContainer] = {
    use ContainerField::{Args, Command, Effective, HostPort, Image, Keys, Name, Repository};
    &[
        known("name", Name, "`name`; none if a container has none"),
        known("image", Image, "`image`; none if a container has none"),
        known(
            "image.repository",
            Repository,
            "`image` up to its first `:` or `@`; none if a container has none",
        ),
        known("command", Command, "`command`, its words joined by blanks"),
        known("args", Args, "`args`, its words joined by blanks"),
        known("host_port", HostPort, "`ports[].hostPort`, else `ports[].containerPort`"),
        known(
            "privileged",
            Keys(&["securityContext", "privileged"]),
            "`securityContext.privileged`",
        ),
        known(
            "allow_privilege_escalation",
            Keys(&["securityContext", "allowPrivilegeEscalation"]),
            "`securityContext.allowPrivilegeEscalation`",
        ),
        known(
            "read_only_fs",
            Keys(&["securityContext", "readOnlyRootFilesystem"]),
            "`securityContext.readOnlyRootFilesystem`",
        ),
        known(
            "run_as_user",
            Keys(&["securityContext", "runAsUser"]),
            "`securityContext.runAsUser`",
        ),
        known(
            "eff_run_as_user",
            Effective("runAsUser"),
            "`runAsUser` of the container, else of the pod's spec, else `0`",
        ),
        known(
            "run_as_group",
            Keys(&["securityContext", "runAsGroup"]),
            "`securityContext.runAsGroup`",
        ),
        known(
            "eff_run_as_group",
            Effective("runAsGroup"),
            "`runAsGroup` of the container, else of the pod's spec, else `0`",
        ),
        known("proc_mount", Keys(&["securityContext", "procMount"]), "`securityContext.procMount`"),
        known(
            "add_capabilities",
            Keys(&["securityContext", "capabilities", "add"]),
            "`securityContext.capabilities.add`, each container's as one JSON text",
        ),
    ]
};

impl KnownOfContainer {
    /// Whether containers of this list have it: ephemeral ones have no ports.
    pub(super) fn is_of(&self, list: &str) -> bool {
        list != "ephemeralContainers" || self.field != ContainerField::HostPort
    }
}

/// Which containers a field is read from.
#[derive(Clone, Copy)]
pub(super) struct Containers<'j> {
    pub(super) body: Json<'j>,
    pub(super) list: &'static str,
    pub(super) index: Option<usize>,
}

impl<'j> Containers<'j> {
    pub(super) fn values(self, field: ContainerField) -> Found<'j> {
        match field {
            ContainerField::Name => self.all(&["name"]),
            ContainerField::Image => self.all(&["image"]),
            ContainerField::Repository => {
                let images = self.all(&["image"])?;
                Ok(images.into_iter().map(|it| repository(&it).to_owned().into()).collect())
            }
            ContainerField::Command => self.joined("command"),
            ContainerField::Args => self.joined("args"),
            ContainerField::HostPort => self.ports(),
            ContainerField::Keys(keys) => {
                Ok(self.under(keys)?.into_iter().flatten().map(Json::text).collect())
            }
            ContainerField::Effective(key) => {
                let pod = self.body.at(&["spec", key]).map_or("0".into(), Json::text);
                let own = self.under(&[key])?.into_iter();
                Ok(own.map(|it| it.map_or_else(|| pod.clone(), Json::text)).collect())
            }
        }
    }

    /// Whether any of them is privileged.
    pub(super) fn privileged(self) -> Result<bool, Missing> {
        let flags = self.under(&["securityContext", "privileged"])?;
        Ok(flags.into_iter().flatten().any(Json::is_true))
    }

    /// One value, or none, for each container.
    fn under(self, keys: &[&str]) -> Result<Vec<Option<Json<'j>>>, Missing> {
        let keys: Vec<&str> = ["spec", self.list].iter().chain(keys).copied().collect();
        spread(self.body, self.index, &keys)
    }

    /// One value for each container, or none at all.
    fn all(self, keys: &[&str]) -> Found<'j> {
        let values: Option<Values<'j>> =
            self.under(keys)?.into_iter().map(|it| it.map(Json::text)).collect();
        values.ok_or(Missing)
    }

    fn joined(self, key: &str) -> Found<'j> {
        let mut lines = Values::new();
        for words in self.under(&[key])?.into_iter().flatten() {
            if !words.is_array() {
                return Err(Missing);
            }
            let words: Option<Vec<_>> = words.members().map(Json::string).collect();
            lines.push(words.ok_or(Missing)?.join(" ").into());
        }
        Ok(lines)
    }

    fn ports(self) -> Found<'j> {
        let mut found = Values::new();
        for ports in self.under(&["ports"])?.into_iter().flatten() {
            if !ports.is_array() {
                return Err(Missing);
            }
            // With hostNetwork the container's port is the host's.
            let port = |it: Json<'j>| it.get("hostPort").or_else(|| it.get("containerPort"));
            found.extend(ports.members().filter_map(port).map(Json::text));
        }
        Ok(found)
    }
}

fn repository(image: &str) -> &str {
    image.split([':', '@']).next().unwrap_or_default()
}
