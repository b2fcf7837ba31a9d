//! The filter of ListOperations (U-P4): empty, or `name = "<value>"`.

use crate::api::validate::Violation;

/// Which operations of a resource are listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OperationFilter<'a> {
    /// All of them.
    All,
    /// All of them if the resource has this name, otherwise none.
    ResourceName(&'a str),
}

impl<'a> OperationFilter<'a> {
    /// Reads a filter.
    ///
    /// # Errors
    /// A violation of `filter` if it is of another form.
    pub fn parse(text: &'a str) -> Result<Self, Violation> {
        if text.trim().is_empty() {
            return Ok(Self::All);
        }
        let name = text
            .trim()
            .strip_prefix("name")
            .and_then(|rest| rest.trim_start().strip_prefix('='))
            .and_then(|rest| rest.trim_start().strip_prefix('"'))
            .and_then(|rest| rest.strip_suffix('"'))
            .filter(|name| !name.contains(['"', '\\']));
        match name {
            Some(name) => Ok(Self::ResourceName(name)),
            None => Err(Violation::new("filter", r#"must be empty or of the form name = "<value>""#)),
        }
    }

    /// Whether operations of a resource with this name pass.
    pub fn admits(&self, resource_name: &str) -> bool {
        match self {
            Self::All => true,
            Self::ResourceName(name) => *name == resource_name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_one_documented_form() {
        assert_eq!(OperationFilter::parse(""), Ok(OperationFilter::All));
        for text in [r#"name = "boiler""#, r#"name="boiler""#, r#"  name  =  "boiler"  "#] {
            assert_eq!(OperationFilter::parse(text), Ok(OperationFilter::ResourceName("boiler")), "{text}");
        }
        for text in
            ["boiler", "name", "name =", "name = boiler", r#"id = "boiler""#, r#"name = "a" OR name = "b""#]
        {
            assert!(OperationFilter::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn admits_by_exact_name() {
        let filter = OperationFilter::parse(r#"name = "boiler""#).expect("good filter");
        assert!(filter.admits("boiler") && !filter.admits("boiler-2") && !filter.admits(""));
        assert!(OperationFilter::All.admits(""));
    }
}
