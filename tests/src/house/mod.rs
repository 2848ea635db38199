//! Rules of the house: words, widths, names, circles, clients, links and alerts.

mod alerts;
mod circles;
mod config_reference;
mod handed_down;
mod links;
mod names;
mod sources;
mod voice;
