//! Rules of the house: words, widths, names, circles, links and alerts.

mod alerts;
mod circles;
mod config_reference;
mod links;
mod names;
mod sources;
mod voice;
