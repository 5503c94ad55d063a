//! The results as a Markdown table.

use std::fmt::Write as _;

use super::figure::{Figure, median};
use super::{OURS, RIVAL, readable, servers};

/// A column for each server, and one for how ours stands to its rival in the same rounds.
pub(super) fn markdown(figures: &[Figure]) -> String {
    let servers = servers(figures);
    let mut text = format!("| load | figure | {} | {OURS} ÷ {RIVAL} |\n", servers.join(" | "));
    text.push_str(&"| --- ".repeat(servers.len() + 3));
    text.push_str("|\n");
    let mut load = "";
    for figure in figures {
        let shown = if figure.load == load { "" } else { &figure.load };
        load = &figure.load;
        let cells: Vec<_> = servers.iter().map(|server| cell(figure.of(server))).collect();
        let ratio =
            figure.ratio(OURS, RIVAL).map_or_else(String::new, |ratio| format!("{ratio:.2}"));
        writeln!(text, "| {shown} | {} | {} | {ratio} |", figure.what, cells.join(" | "))
            .expect("a string takes everything");
    }
    text
}

/// The median, and between which values it lies.
fn cell(values: &[f64]) -> String {
    let Some(median) = median(values) else { return "–".to_owned() };
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if readable(low) == readable(high) {
        readable(median)
    } else {
        format!("{} ({} to {})", readable(median), readable(low), readable(high))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_has_the_median_and_the_range() {
        assert_eq!(cell(&[3.0, 1.0, 2_000_000.0]), "3 (1 to 2 million)");
        assert_eq!((cell(&[7.0]), cell(&[])), ("7".to_owned(), "–".to_owned()));
    }
}
