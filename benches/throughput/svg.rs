//! A chart as SVG: panels side by side over one logarithmic axis, for a page that is light or dark.
//!
//! A point is a median; the line through it reaches from the least to the greatest measurement.

use std::fmt::Write as _;

use crate::scale::{Linear, Logarithmic, short};
use crate::statistics::Spread;

const PANEL_WIDTH: f64 = 430.0;
const PLOT_WIDTH: f64 = 330.0;
const PLOT_HEIGHT: f64 = 220.0;
const LEFT: f64 = 70.0;
const TOP: f64 = 84.0;
const HEIGHT: f64 = 370.0;

/// Colours that can be told apart, also by who does not see red and green.
const STYLE: &str = "<style>\
    text{font:13px system-ui,sans-serif;fill:#1f2328}.title{font-size:16px;font-weight:600}\
    .axis{stroke:#59636e}.grid{stroke:#d1d9e0}.s0{stroke:#0072b2;fill:#0072b2}.s1{stroke:#d55e00;fill:#d55e00}\
    .line{fill:none;stroke-width:2}.range{stroke-width:1.5;opacity:.6}\
    @media(prefers-color-scheme:dark){text{fill:#e6edf3}.axis{stroke:#9198a1}.grid{stroke:#3d444d}\
    .s0{stroke:#56b4e9;fill:#56b4e9}.s1{stroke:#e69f00;fill:#e69f00}.line{fill:none}}</style>";

/// A chart.
pub struct Chart {
    /// What it shows.
    pub title: String,
    /// What the horizontal axis is, with its unit.
    pub across: String,
    /// At most two lines a panel have colours.
    pub panels: Vec<Panel>,
}

/// One vertical axis.
pub struct Panel {
    /// What it is, with its unit.
    pub up: String,
    /// Its lines.
    pub series: Vec<Series>,
}

/// One line.
pub struct Series {
    /// What it is.
    pub name: String,
    /// From left to right: where, and what was measured there.
    pub points: Vec<(f64, Spread)>,
}

impl Chart {
    /// The whole file; `None` where there are not two places to draw a line between.
    pub fn svg(&self) -> Option<String> {
        let all = || self.panels.iter().flat_map(|panel| &panel.series).flat_map(|series| &series.points);
        let across = Logarithmic::over(all().map(|(at, _)| *at))?;
        let mut ticks: Vec<f64> = all().map(|(at, _)| *at).collect();
        ticks.sort_by(f64::total_cmp);
        ticks.dedup();
        let width = self.panels.iter().fold(0.0, |width, _| width + PANEL_WIDTH);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {HEIGHT}\" role=\"img\">\n\
             <title>{}</title>\n{STYLE}\n",
            escaped(&self.title)
        );
        text(&mut svg, (LEFT, 24.0), "start", "title", &self.title);
        let mut left = LEFT;
        for panel in &self.panels {
            let drawing = Drawing { left, across, up: panel.axis() };
            drawing.frame(&mut svg, &ticks, &self.across, &panel.up);
            for (number, series) in panel.series.iter().enumerate() {
                drawing.series(&mut svg, number, series, panel.series.len() > 1);
            }
            left += PANEL_WIDTH;
        }
        svg.push_str("</svg>\n");
        Some(svg)
    }
}

impl Panel {
    fn axis(&self) -> Linear {
        let points = self.series.iter().flat_map(|series| &series.points);
        Linear::up_to(points.map(|(_, spread)| spread.max).fold(0.0, f64::max))
    }
}

/// Where things are in one panel.
struct Drawing {
    left: f64,
    across: Logarithmic,
    up: Linear,
}

impl Drawing {
    fn x(&self, number: f64) -> f64 {
        self.left + self.across.place(number) * PLOT_WIDTH
    }

    fn y(&self, number: f64) -> f64 {
        TOP + (1.0 - self.up.place(number)) * PLOT_HEIGHT
    }

    fn frame(&self, svg: &mut String, ticks: &[f64], across: &str, up: &str) {
        let (right, bottom) = (self.left + PLOT_WIDTH, TOP + PLOT_HEIGHT);
        for mark in self.up.marks() {
            let y = self.y(mark);
            line(svg, if mark > 0.0 { "grid" } else { "axis" }, (self.left, y), (right, y));
            text(svg, (self.left - 8.0, y + 4.0), "end", "mark", &short(mark));
        }
        for tick in ticks {
            let x = self.x(*tick);
            line(svg, "axis", (x, bottom), (x, bottom + 5.0));
            text(svg, (x, bottom + 20.0), "middle", "mark", &short(*tick));
        }
        text(svg, (self.left, TOP - 14.0), "start", "label", up);
        text(svg, (self.left + PLOT_WIDTH / 2.0, bottom + 44.0), "middle", "label", across);
    }

    fn series(&self, svg: &mut String, number: usize, series: &Series, named: bool) {
        let mut path = String::new();
        for (at, spread) in &series.points {
            let (x, y) = (self.x(*at), self.y(spread.median));
            let letter = if path.is_empty() { 'M' } else { 'L' };
            push(&mut path, format_args!("{letter}{x:.1} {y:.1} "));
        }
        push(svg, format_args!("<path class=\"line s{number}\" d=\"{}\"/>\n", path.trim_end()));
        for (at, spread) in &series.points {
            let x = self.x(*at);
            line(svg, &format!("range s{number}"), (x, self.y(spread.min)), (x, self.y(spread.max)));
            let y = self.y(spread.median);
            let said = escaped(&format!("{} at {}: {}", series.name, short(*at), spread.text(2)));
            push(
                svg,
                format_args!(
                    "<circle class=\"s{number}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"><title>{said}</title></circle>\n"
                ),
            );
        }
        if named {
            // The names stand above each other at the right, where the label of the axis ends.
            let y = TOP - 30.0 + if number == 0 { 0.0 } else { 16.0 };
            let x = self.left + PLOT_WIDTH;
            line(svg, &format!("line s{number}"), (x - 18.0, y - 4.0), (x, y - 4.0));
            text(svg, (x - 24.0, y), "end", "label", &series.name);
        }
    }
}

fn line(svg: &mut String, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
    push(
        svg,
        format_args!(
            "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>\n"
        ),
    );
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, class: &str, words: &str) {
    let words = escaped(words);
    push(
        svg,
        format_args!(
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>\n"
        ),
    );
}

fn push(svg: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing into a string does not fail.
    let _written = svg.write_fmt(what);
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
