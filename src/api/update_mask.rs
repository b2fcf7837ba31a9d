//! Which fields an Update changes (`spec/api.md`, Conventions; U-P5).

use prost_types::FieldMask;

use super::validate::Violation;

/// The fields to overwrite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateMask<'a> {
    /// `None`: all of them.
    paths: Option<&'a [String]>,
}

impl<'a> UpdateMask<'a> {
    /// Reads the mask of a request against the updatable fields of the resource.
    /// Without a mask, or with one that lists nothing, all of them are overwritten.
    ///
    /// # Errors
    /// A violation that names the first path which is not updatable.
    pub fn parse(mask: Option<&'a FieldMask>, updatable: &[&str]) -> Result<Self, Violation> {
        let paths = mask.map(|mask| mask.paths.as_slice()).filter(|paths| !paths.is_empty());
        let unknown = paths.unwrap_or_default().iter().find(|path| !updatable.contains(&path.as_str()));
        match unknown {
            None => Ok(Self { paths }),
            Some(path) => {
                let path: String = path.chars().take(64).collect();
                let rule = format!("must list only {} (got {path:?})", updatable.join(", "));
                Err(Violation::new("update_mask", rule))
            }
        }
    }

    /// Whether the field is to be overwritten.
    pub fn covers(&self, field: &str) -> bool {
        self.paths.is_none_or(|paths| paths.iter().any(|path| path == field))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UPDATABLE: [&str; 2] = ["name", "labels"];

    #[test]
    fn no_mask_and_an_empty_mask_cover_everything() {
        let empty = FieldMask::default();
        for mask in [None, Some(&empty)] {
            let mask = UpdateMask::parse(mask, &UPDATABLE).expect("good mask");
            assert!(mask.covers("name") && mask.covers("labels"));
        }
    }

    #[test]
    fn a_mask_covers_what_it_lists() {
        let fields = FieldMask { paths: vec!["labels".to_owned()] };
        let mask = UpdateMask::parse(Some(&fields), &UPDATABLE).expect("good mask");
        assert!(mask.covers("labels") && !mask.covers("name"));
    }

    #[test]
    fn unknown_paths_are_refused_by_name() {
        let fields = FieldMask { paths: vec!["name".to_owned(), "folder_id".to_owned()] };
        let violation = UpdateMask::parse(Some(&fields), &UPDATABLE).expect_err("unknown path");
        assert_eq!(violation.to_string(), r#"update_mask: must list only name, labels (got "folder_id")"#);
    }
}
