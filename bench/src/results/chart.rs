//! The results as an SVG: a panel for each figure, a bar for each server.

use std::fmt::{self, Write};

use super::figure::{Figure, LOST, median};
use super::{OURS, readable};

/// Panels beside each other.
const COLUMNS: usize = 2;
/// Pixels of a panel and of the gap around it.
const PANEL_WIDTH: usize = 440;
const GAP: usize = 28;
/// Pixels above the first bar, and of each bar with its gap.
const HEAD: usize = 44;
const BAR: usize = 24;
/// Pixels for a server's name and for the longest bar; the value stands behind it.
const NAME: usize = 76;
const LONGEST: f64 = 250.0;

/// The colours of our bars and of all others.
const OUR_COLOUR: &str = "#1f6feb";
const THEIR_COLOUR: &str = "#9aa4b2";

/// The chart.
pub(super) fn svg(figures: &[Figure]) -> String {
    let panels: Vec<_> = figures.iter().filter(|figure| figure.charted).collect();
    let bars = panels.iter().map(|figure| figure.values.len()).max().unwrap_or_default();
    let panel_height = HEAD + bars * BAR + GAP;
    let width = COLUMNS * PANEL_WIDTH + GAP;
    let height = panels.len().div_ceil(COLUMNS) * panel_height + GAP;
    let mut text = String::new();
    let mut draw = || -> fmt::Result {
        writeln!(
            text,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" font-family=\"Helvetica, Arial, sans-serif\" \
             font-size=\"13\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>"
        )?;
        for (number, figure) in panels.iter().enumerate() {
            let x = GAP + number % COLUMNS * PANEL_WIDTH;
            let y = GAP + number / COLUMNS * panel_height;
            panel(&mut text, figure, &losers(figures, &figure.load), x, y)?;
        }
        writeln!(text, "</svg>")
    };
    draw().expect("a string takes everything");
    text
}

/// The servers that lost something under a load. A chart that did not say so would praise them for
/// what they left out.
fn losers<'a>(figures: &'a [Figure], load: &str) -> Vec<&'a str> {
    let lost = figures.iter().filter(|figure| figure.load == load && figure.what == LOST);
    let values = lost.flat_map(|figure| &figure.values);
    let some = values.filter(|(_, lost)| lost.iter().any(|lost| *lost > 0.0));
    some.map(|(server, _)| server.as_str()).collect()
}

fn panel(
    out: &mut impl Write,
    figure: &Figure,
    losers: &[&str],
    x: usize,
    y: usize,
) -> fmt::Result {
    let better = if figure.higher_is_better { "more is better" } else { "less is better" };
    let (load, what) = (&figure.load, figure.what);
    writeln!(
        out,
        "<text x=\"{x}\" y=\"{}\" font-weight=\"bold\" fill=\"#1b1f24\">{load}</text>\n\
         <text x=\"{x}\" y=\"{}\" fill=\"#57606a\">{what} ({better})</text>",
        y + 12,
        y + 30
    )?;
    let medians = || figure.values.iter().filter_map(|(_, values)| median(values));
    let most = medians().fold(f64::MIN_POSITIVE, f64::max);
    for (number, ((server, _), value)) in figure.values.iter().zip(medians()).enumerate() {
        let colour = if server == OURS { OUR_COLOUR } else { THEIR_COLOUR };
        let note = if losers.contains(&server.as_str()) { ", loses messages" } else { "" };
        let top = y + HEAD + number * BAR;
        let baseline = top + 14;
        let length = (value / most * LONGEST).max(1.0);
        #[expect(clippy::cast_precision_loss, reason = "pixels")]
        let behind = (x + NAME) as f64 + length + 6.0;
        writeln!(
            out,
            "<text x=\"{}\" y=\"{baseline}\" text-anchor=\"end\" fill=\"#1b1f24\">{server}</text>\n\
             <rect x=\"{}\" y=\"{top}\" width=\"{length:.1}\" height=\"18\" fill=\"{colour}\"/>\n\
             <text x=\"{behind:.1}\" y=\"{baseline}\" fill=\"#1b1f24\">{}{note}</text>",
            x + NAME - 8,
            x + NAME,
            readable(value)
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_server_has_the_longest_bar_and_uncharted_figures_none() {
        let figure = |what, charted| Figure {
            load: "chat".to_owned(),
            what,
            higher_is_better: true,
            charted,
            values: vec![("keywire".to_owned(), vec![2.0]), ("bun".to_owned(), vec![1.0])],
        };
        let svg = svg(&[figure("deliveries a second", true), figure("p50, ms", false)]);
        assert_eq!(svg.matches("more is better").count(), 1);
        assert!(svg.contains("width=\"250.0\" height=\"18\" fill=\"#1f6feb\""), "{svg}");
        assert!(svg.contains("width=\"125.0\" height=\"18\" fill=\"#9aa4b2\""), "{svg}");
    }

    #[test]
    fn a_server_that_lost_something_is_shown_to() {
        let figure = |what, charted, values: [f64; 2]| Figure {
            load: "chat".to_owned(),
            what,
            higher_is_better: true,
            charted,
            values: vec![("bun".to_owned(), vec![values[0]]), ("axum".to_owned(), vec![values[1]])],
        };
        let rate = figure("deliveries a second", true, [2.0, 9.0]);
        let svg = svg(&[rate, figure(LOST, false, [0.0, 5.0])]);
        assert!(svg.contains(">9, loses messages<") && svg.contains(">2<"), "{svg}");
    }
}
