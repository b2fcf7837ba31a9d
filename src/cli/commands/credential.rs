//! Certificates and passwords of a registry, device or broker.

use serde_json::json;

use super::Session;
use super::change::read_text;
use crate::cli::arguments::credential::{CertificateCommand, PasswordCommand};
use crate::cli::arguments::target::Owner;
use crate::cli::error::CliError;
use crate::cli::output::print_message;
use crate::cli::output::table::{CREATED_AT, Column, ID};
use crate::cli::resource::Kind;
use crate::cli::secret;

const FINGERPRINT: Column = Column { heading: "FINGERPRINT", field: "fingerprint" };

impl Session {
    /// `certificate add`, `list`, `delete`
    pub(super) async fn certificate<O: Owner>(
        &mut self,
        kind: &'static Kind,
        command: &CertificateCommand<O>,
    ) -> Result<(), CliError> {
        match command {
            CertificateCommand::Add { owner, certificate_file, wait } => {
                let text = read_text(certificate_file)?;
                let id = kind.id_of(&mut self.client, &owner.reference()).await?;
                let request = json!({ kind.id_field: id, "certificate_data": text });
                let result =
                    self.client.change(kind.service, "AddCertificate", request, wait.no_wait).await?;
                print_message(self.format, &result)
            }
            CertificateCommand::List { owner } => {
                let id = kind.id_of(&mut self.client, &owner.reference()).await?;
                let columns = &[FINGERPRINT, CREATED_AT];
                self.list_all(kind, "ListCertificates", "certificates", kind.by_id(&id), columns).await
            }
            CertificateCommand::Delete { owner, fingerprint, wait } => {
                let id = kind.id_of(&mut self.client, &owner.reference()).await?;
                // With colons it would be longer than the API permits.
                let fingerprint = fingerprint.replace(':', "").to_ascii_lowercase();
                let request = json!({ kind.id_field: id, "fingerprint": fingerprint });
                let result =
                    self.client.change(kind.service, "DeleteCertificate", request, wait.no_wait).await?;
                print_message(self.format, &result)
            }
        }
    }

    /// `password add`, `list`, `delete`
    pub(super) async fn password<O: Owner>(
        &mut self,
        kind: &'static Kind,
        command: &PasswordCommand<O>,
    ) -> Result<(), CliError> {
        match command {
            PasswordCommand::Add { owner, source, wait } => {
                let password = match secret::obtain(source)? {
                    Some(password) => password,
                    None => secret::NewPassword { text: secret::read("Password: ", true)?, generated: false },
                };
                let id = kind.id_of(&mut self.client, &owner.reference()).await?;
                let request = json!({ kind.id_field: id, "password": password.text.as_str() });
                let result = self.client.change(kind.service, "AddPassword", request, wait.no_wait).await?;
                self.print_with_password(&result, Some(&password))
            }
            PasswordCommand::List { owner } => {
                let id = kind.id_of(&mut self.client, &owner.reference()).await?;
                self.list_all(kind, "ListPasswords", "passwords", kind.by_id(&id), &[ID, CREATED_AT]).await
            }
            PasswordCommand::Delete { owner, password_id, wait } => {
                let id = kind.id_of(&mut self.client, &owner.reference()).await?;
                let request = json!({ kind.id_field: id, "password_id": password_id });
                let result =
                    self.client.change(kind.service, "DeletePassword", request, wait.no_wait).await?;
                print_message(self.format, &result)
            }
        }
    }
}
