//! Who may serve clients, and who is given up.

mod cliques;
mod grants;
#[cfg(test)]
mod simulation;
