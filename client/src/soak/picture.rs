//! The pictures of a soak, as SVG.
//!
//! The colours that the plotting library writes are names in disguise: each becomes a class, and [`STYLE`] says what
//! it looks like by day and by night. So one picture serves both, within a page and alone.

use std::error::Error;
use std::ops::Range;
use std::time::Duration;

use hdrhistogram::Histogram;
use plotters::chart::MeshStyle;
use plotters::coord::Shift;
use plotters::coord::ranged1d::ValueFormatter;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::killing::death::{Death, Deaths};
use super::moving::moved::{Move, Moves};
use super::outcome::{Fate, Outcome, Sample, Takeover};
use crate::timeline::{Slice, coarser};

/// What a part of a picture is, and with that, how it is painted.
const TEXT: RGBColor = RGBColor(1, 0, 1);
const GRID: RGBColor = RGBColor(1, 0, 2);
const WORST: RGBColor = RGBColor(1, 0, 3);
const MEDIAN: RGBColor = RGBColor(1, 0, 4);
const TAKEOVER: RGBColor = RGBColor(1, 0, 5);
const KILLED: RGBColor = RGBColor(1, 0, 6);

const CLASSES: [(RGBColor, &str); 6] =
    [(TEXT, "text"), (GRID, "grid"), (WORST, "worst"), (MEDIAN, "median"), (TAKEOVER, "takeover"), (KILLED, "killed")];

/// How the classes are painted: `f-` where they fill, `s-` where they are lines.
pub(crate) const STYLE: &str = "\
svg { --text: #1f2328; --grid: #d8dee4; --worst: #bc4c00; --median: #0969da; --takeover: #8250df; --killed: #cf222e; }
@media (prefers-color-scheme: dark) {
  svg { --text: #d1d7e0; --grid: #333b45; --worst: #f0883e; --median: #58a6ff; --takeover: #b083f0; --killed: #ff7b72; }
}
svg text { font-family: system-ui, -apple-system, 'Segoe UI', 'Noto Sans', sans-serif; }
.f-text { fill: var(--text); } .s-text { stroke: var(--text); } .f-grid { fill: var(--grid); } .s-grid { stroke: var(--grid); }
.f-worst { fill: var(--worst); } .s-worst { stroke: var(--worst); }
.f-median { fill: var(--median); } .s-median { stroke: var(--median); }
.f-takeover { fill: var(--takeover); } .s-takeover { stroke: var(--takeover); }
.f-killed { fill: var(--killed); } .s-killed { stroke: var(--killed); }
polyline, line { vector-effect: non-scaling-stroke; stroke-linejoin: round; }
";

/// How large a picture is, in its own units. It is scaled to where it is shown, and with it its letters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    width: u32,
    height: u32,
}

/// Over the whole page, on a phone, and beside another one.
pub(crate) const WIDE: Size = Size { width: 980, height: 380 };
pub(crate) const NARROW: Size = Size { width: 400, height: 340 };
const HALF: Size = Size { width: 480, height: 280 };

/// The height of a line. The letters are a fifth smaller.
const FONT: i32 = 16;
const LEGEND_HEIGHT: i32 = 30;

/// How many points a line over time may have: more than its width has pixels, so that short soaks show every slice.
const POINTS_MAX: f64 = 2_400.0;

type Drawn = Result<String, Box<dyn Error>>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b, X, Y> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<X, Y>>;
type Failure<'a> = DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>;

/// The main picture as a file of its own.
pub(crate) fn standalone(outcome: &Outcome) -> Drawn {
    let picture = round_trips(outcome, WIDE)?;
    let style = format!("><style>{STYLE}</style>");
    Ok(picture.replacen('>', &style, 1))
}

/// Draws on a canvas of this size, and turns the colours into classes.
fn draw(size: Size, paint: impl FnOnce(&Area) -> Result<(), Box<dyn Error>>) -> Drawn {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (size.width, size.height)).into_drawing_area();
        paint(&area)?;
        area.present()?;
    }
    for (RGBColor(red, green, blue), class) in CLASSES {
        for (attribute, letter) in [("fill", 'f'), ("stroke", 's')] {
            let colour = format!("{attribute}=\"#{red:02X}{green:02X}{blue:02X}\"");
            svg = svg.replace(&colour, &format!("class=\"{letter}-{class}\""));
        }
    }
    Ok(svg)
}

fn text(colour: RGBColor) -> TextStyle<'static> {
    ("sans-serif", FONT).into_font().color(&colour)
}

fn centred(colour: RGBColor, vertical: VPos) -> TextStyle<'static> {
    text(colour).pos(Pos::new(HPos::Center, vertical))
}

/// Writes what the colours mean, from the left to the right, and returns the area below.
fn legend<'a>(area: &Area<'a>, entries: &[(&str, RGBColor)]) -> Result<Area<'a>, Failure<'a>> {
    let (above, below) = area.split_vertically(LEGEND_HEIGHT);
    let mut x = 8;
    for (label, colour) in entries {
        above.draw(&Rectangle::new([(x, 8), (x + 10, 18)], colour.filled()))?;
        above.draw(&Text::new((*label).to_owned(), (x + 15, 6), text(TEXT)))?;
        // Without fonts the width of a text is a guess.
        x += 15 + label.chars().count() as i32 * FONT * 9 / 20 + 14;
    }
    Ok(below)
}

/// A chart with room for its labels, and for the half of the last one that stands out.
fn frame<'a, 'b>(area: &'a Area<'b>) -> ChartBuilder<'a, 'a, SVGBackend<'b>> {
    let mut frame = ChartBuilder::on(area);
    frame.margin_right(14).margin_top(6).x_label_area_size(32).y_label_area_size(66);
    frame
}

/// The lines and labels of a chart, in the colours that all of them have.
fn grid<'a, 'b, 'c, X, Y>(chart: &'b mut Chart<'a, 'c, X, Y>) -> MeshStyle<'a, 'b, X, Y, SVGBackend<'c>>
where
    X: Ranged<ValueType = f64> + ValueFormatter<f64>,
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let mut grid = chart.configure_mesh();
    grid.bold_line_style(GRID).light_line_style(TRANSPARENT).axis_style(GRID).label_style(text(TEXT));
    grid
}

/// Nanoseconds in words: `250 µs`, `1.5 ms`.
pub(crate) fn duration(nanoseconds: f64) -> String {
    let (value, unit) = match nanoseconds {
        0.0 => return "0".to_owned(),
        ns if ns < 999_500.0 => (ns / 1e3, "µs"),
        ns if ns < 999_500_000.0 => (ns / 1e6, "ms"),
        ns => (ns / 1e9, "s"),
    };
    let decimals = if value < 9.95 && (value - value.round()).abs() > 0.049 { 1 } else { 0 };
    format!("{value:.decimals$} {unit}")
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

/// A range for a logarithmic axis: from a round number below to one above.
fn decades(low: f64, high: f64) -> Range<f64> {
    let low = 10f64.powf(low.max(1.0).log10().floor());
    low..(high * 1.5).max(low * 10.0)
}

/// The worst and the median round trip over time, and each takeover.
pub(crate) fn round_trips(outcome: &Outcome, size: Size) -> Drawn {
    let timeline = &outcome.timeline;
    let length = seconds(outcome.report.duration).max(0.1);
    let slices_per_point = (length / seconds(timeline.slice()) / POINTS_MAX).ceil().max(1.0) as u32;
    let slices = coarser(timeline.slices(), slices_per_point);
    let slice = seconds(timeline.slice()) * f64::from(slices_per_point);
    let low = slices.iter().map(|slice| slice.median_ns).min().unwrap_or(10_000);
    let high = slices.iter().map(|slice| slice.worst_ns).max().unwrap_or(1_000_000);
    let range = decades(low as f64, high as f64);
    let narrow = size.width < WIDE.width;

    draw(size, |area| {
        let worst = format!("worst in {}", duration(slice * 1e9));
        let takeover = match (outcome, narrow) {
            (Outcome { deaths: Some(_), .. }, _) => ("death", KILLED),
            (Outcome { moves: Some(_), .. }, _) => ("move", TAKEOVER),
            (_, true) => ("takeover: pause", TAKEOVER),
            (_, false) => ("takeover, with its pause", TAKEOVER),
        };
        let entries = [(worst.as_str(), WORST), ("median", MEDIAN), takeover];
        let bands = bands(outcome);
        let entries = if bands.is_empty() { &entries[..2] } else { &entries };
        let area = legend(area, entries)?;
        let mut chart = frame(&area).margin_top(22).build_cartesian_2d(0.0..length, range.clone().log_scale())?;
        grid(&mut chart)
            .disable_x_mesh()
            .x_labels(if narrow { 5 } else { 10 })
            .y_labels(8)
            .x_label_formatter(&|x| format!("{x} s"))
            .y_label_formatter(&|y| duration(*y))
            .draw()?;
        chart.draw_series(bands.into_iter().map(|Band { begun, ended, killed }| {
            let colour = if killed { KILLED } else { TAKEOVER };
            let width = seconds(ended - begun).max(length / f64::from(size.width) * 2.0);
            let from = seconds(begun);
            Rectangle::new([(from, range.start), (from + width, range.end)], colour.mix(0.3).filled())
        }))?;
        for (colour, value) in [(MEDIAN, median as fn(&Slice) -> f64), (WORST, worst_of)] {
            for run in runs(&slices) {
                let points = run.iter().map(|point| ((f64::from(point.index) + 0.5) * slice, value(point)));
                chart.draw_series(LineSeries::new(points.filter(|(x, _)| *x <= length), colour.stroke_width(1)))?;
            }
        }
        // More labels than fit say nothing.
        if outcome.takeovers.len() <= if narrow { 5 } else { 12 } {
            for takeover in &outcome.takeovers {
                let (label, colour) = label(takeover, narrow);
                let middle = seconds(takeover.begun + takeover.ended) / 2.0;
                let (x, _) = chart.plotting_area().map_coordinate(&(middle, range.end));
                let (left, _) = area.get_base_pixel();
                area.draw(&Text::new(label, (x - left, 6), centred(colour, VPos::Top)))?;
            }
        }
        Ok(())
    })
}

/// Something that takes a part of the time.
struct Band {
    begun: Duration,
    ended: Duration,
    /// Whether somebody was killed in it.
    killed: bool,
}

/// All takeovers, all moves, and all deaths.
fn bands(outcome: &Outcome) -> Vec<Band> {
    let takeovers = outcome.takeovers.iter().map(|takeover| {
        let Takeover { begun, ended, ref fate, .. } = *takeover;
        Band { begun, ended, killed: matches!(fate, Fate::Killed | Fate::Declined(_)) }
    });
    let moves = outcome.moves.iter().flat_map(|moves| &moves.all);
    let moves = moves.map(|made| Band { begun: made.begun, ended: made.ended, killed: made.killed.is_some() });
    let deaths = outcome.deaths.iter().flat_map(|deaths| &deaths.all);
    let deaths = deaths.map(|death| Band { begun: death.begun, ended: death.ended, killed: true });
    takeovers.chain(moves).chain(deaths).collect()
}

fn median(slice: &Slice) -> f64 {
    slice.median_ns as f64
}

fn worst_of(slice: &Slice) -> f64 {
    slice.worst_ns as f64
}

fn label(takeover: &Takeover, narrow: bool) -> (String, RGBColor) {
    match &takeover.fate {
        Fate::TookOver(summary) => (duration(summary.pause_us as f64 * 1e3), TAKEOVER),
        Fate::Killed if narrow => ("killed".to_owned(), KILLED),
        Fate::Killed => ("successor killed".to_owned(), KILLED),
        Fate::Declined(_) if narrow => ("declined".to_owned(), KILLED),
        Fate::Declined(unfit) => (unfit.name().to_owned(), KILLED),
        Fate::Failed(_) => ("failed".to_owned(), KILLED),
    }
}

/// Slices without a gap between them: where no answer came, there is no line.
fn runs(slices: &[Slice]) -> impl Iterator<Item = &[Slice]> {
    slices.chunk_by(|slice, next| next.index - slice.index <= 3)
}

/// The distributions of the round trips during takeovers and between them, on an axis that gives each nine the same
/// room.
pub(crate) fn distributions(outcome: &Outcome, size: Size) -> Drawn {
    let distributions = outcome.distributions();
    let count = distributions.iter().map(|(_, nanoseconds)| nanoseconds.len()).max().unwrap_or(0);
    let nines = (count.max(10) as f64).log10();
    let unit = if size.width < WIDE.width { "" } else { " %" };
    let low = distributions.iter().filter(|(_, ns)| !ns.is_empty()).map(|(_, ns)| ns.min()).min().unwrap_or(10_000);
    let high = distributions.iter().map(|(_, nanoseconds)| nanoseconds.max()).max().unwrap_or(1_000_000);
    draw(size, |area| {
        let entries = [(distributions[0].0, MEDIAN), (distributions[1].0, TAKEOVER)];
        let area = legend(area, &entries)?;
        let mut chart = frame(&area)
            .margin_right(32)
            .build_cartesian_2d(0.0..nines, decades(low as f64, high as f64).log_scale())?;
        grid(&mut chart)
            .x_labels(nines as usize + 1)
            .y_labels(8)
            .x_label_formatter(&|x| format!("{}{unit}", percentile(*x)))
            .y_label_formatter(&|y| duration(*y))
            .draw()?;
        for ((_, nanoseconds), (_, colour)) in distributions.into_iter().zip(entries) {
            chart.draw_series(LineSeries::new(curve(nanoseconds), colour.stroke_width(2)))?;
        }
        Ok(())
    })
}

/// So many nines as a percentile: `2` is `99`.
fn percentile(nines: f64) -> String {
    let decimals = (nines.round() as usize).saturating_sub(2);
    format!("{:.decimals$}", 100.0 * (1.0 - 10f64.powf(-nines)))
}

/// The value at each percentile, up to the last one that the number of values supports.
fn curve(nanoseconds: &Histogram<u64>) -> Vec<(f64, f64)> {
    const STEPS_PER_NINE: usize = 60;
    if nanoseconds.is_empty() {
        return Vec::new();
    }
    let nines = (nanoseconds.len() as f64).log10();
    let steps = (nines * STEPS_PER_NINE as f64) as usize;
    let at = |nines: f64| nanoseconds.value_at_quantile(1.0 - 10f64.powf(-nines)).max(1) as f64;
    let mut curve: Vec<(f64, f64)> =
        (0..=steps).map(|step| step as f64 / STEPS_PER_NINE as f64).map(|nines| (nines, at(nines))).collect();
    curve.push((nines, nanoseconds.max() as f64));
    curve
}

/// One bar for each takeover that was carried through.
pub(crate) fn bars(outcome: &Outcome, title: &str, value_ns: impl Fn(&super::summary::Summary) -> f64) -> Drawn {
    let value = |takeover: &Takeover| match &takeover.fate {
        Fate::TookOver(summary) => Some(value_ns(summary)),
        Fate::Killed | Fate::Declined(_) | Fate::Failed(_) => None,
    };
    let values: Vec<Option<f64>> = outcome.takeovers.iter().map(value).collect();
    draw_bars(title, &values, |index| label(&outcome.takeovers[index], true))
}

/// One bar for each move that was not disturbed.
pub(crate) fn pauses_of_moves(moves: &Moves) -> Drawn {
    let undisturbed = |made: &Move| made.told.filter(|_| made.killed.is_none()).map(|told| told.pause_us * 1e3);
    let values: Vec<Option<f64>> = moves.all.iter().map(undisturbed).collect();
    draw_bars("pause of a move", &values, |_| ("killed".to_owned(), KILLED))
}

/// One bar for each death, of the time that something took after it.
pub(crate) fn times_of_deaths(deaths: &Deaths, title: &str, time: impl Fn(&Death) -> Option<Duration>) -> Drawn {
    let in_ns = |death: &Death| time(death).map(|time| time.as_nanos() as f64);
    let values: Vec<Option<f64>> = deaths.all.iter().map(in_ns).collect();
    draw_bars(title, &values, |_| ("none".to_owned(), KILLED))
}

/// One bar for each value, and a label where there is none.
fn draw_bars(title: &str, values: &[Option<f64>], absent: impl Fn(usize) -> (String, RGBColor)) -> Drawn {
    let high = values.iter().flatten().copied().fold(1.0, f64::max) * 1.2;
    let number = values.len().max(1);
    draw(HALF, |area| {
        let area = legend(area, &[(title, TAKEOVER)])?;
        let mut chart = frame(&area).build_cartesian_2d(0.0..number as f64, 0.0..high)?;
        grid(&mut chart).disable_x_mesh().x_labels(0).y_labels(5).y_label_formatter(&|y| duration(*y)).draw()?;
        chart.draw_series(values.iter().enumerate().filter_map(|(index, value)| {
            let left = index as f64;
            value.map(|value| Rectangle::new([(left + 0.2, 0.0), (left + 0.8, value)], TAKEOVER.filled()))
        }))?;
        let (left, top) = area.get_base_pixel();
        for (index, value) in values.iter().enumerate().filter(|_| number <= 12) {
            let (x, y) = chart.plotting_area().map_coordinate(&(index as f64 + 0.5, value.unwrap_or(0.0)));
            let (above, colour) = match value {
                Some(value) => (duration(*value), TEXT),
                None => absent(index),
            };
            area.draw(&Text::new(above, (x - left, y - top - 4), centred(colour, VPos::Bottom)))?;
            let (_, bottom) = chart.plotting_area().map_coordinate(&(0.0, 0.0));
            area.draw(&Text::new(format!("{}", index + 1), (x - left, bottom - top + 8), centred(TEXT, VPos::Top)))?;
        }
        Ok(())
    })
}

/// Something that each process uses, from one instant of the load to another. Processes that follow each other have
/// different colours.
pub(crate) fn usage(
    outcome: &Outcome,
    span: &Range<Duration>,
    value: impl Fn(&Sample) -> Option<f64>,
    unit: &dyn Fn(f64) -> String,
    legends: [&str; 2],
) -> Drawn {
    let samples: Vec<&Sample> = outcome.samples.iter().filter(|sample| span.contains(&sample.at)).collect();
    let high = samples.iter().filter_map(|sample| value(sample)).fold(1.0, f64::max) * 1.15;
    let (from, to) = (seconds(span.start), seconds(span.end));
    let first = samples.iter().map(|sample| sample.process).min().unwrap_or(0);
    let last = samples.iter().map(|sample| sample.process).max().unwrap_or(0);
    draw(HALF, |area| {
        let area = legend(area, &[(legends[0], WORST), (legends[1], MEDIAN)])?;
        let mut chart = frame(&area).build_cartesian_2d(from..to, 0.0..high)?;
        grid(&mut chart)
            .disable_x_mesh()
            .x_labels(5)
            .y_labels(5)
            .x_label_formatter(&|x| if to - from < 1.0 { format!("{x:.2} s") } else { format!("{x} s") })
            .y_label_formatter(&|y| unit(*y))
            .draw()?;
        for process in first..=last {
            let colour = if (process - first) % 2 == 0 { WORST } else { MEDIAN };
            let samples = samples.iter().filter(|sample| sample.process == process);
            let points = samples.filter_map(|sample| Some((seconds(sample.at), value(sample)?)));
            chart.draw_series(LineSeries::new(points, colour.stroke_width(2)))?;
        }
        Ok(())
    })
}

/// A number with a separator after each three digits: `10,000`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short_and_say_their_unit() {
        for (nanoseconds, words) in [
            (0.0, "0"),
            (199_000.0, "199 µs"),
            (1_500.0, "1.5 µs"),
            (999_400.0, "999 µs"),
            (1_000_000.0, "1 ms"),
            (2_340_000.0, "2.3 ms"),
            (33_213_000.0, "33 ms"),
            (1_200_000_000.0, "1.2 s"),
        ] {
            assert_eq!(duration(nanoseconds), words);
        }
    }

    #[test]
    fn each_nine_is_a_percentile() {
        let percentiles: Vec<String> = (0..5).map(|nines| percentile(f64::from(nines))).collect();
        assert_eq!(percentiles, ["0", "90", "99", "99.9", "99.99"]);
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        for (number, words) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), words);
        }
    }

    #[test]
    fn colours_become_classes() {
        let svg = draw(HALF, |area| Ok(area.draw(&Rectangle::new([(0, 0), (9, 9)], WORST.filled()))?)).unwrap();
        assert!(svg.contains("class=\"f-worst\"") && !svg.contains("#0100"), "{svg}");
    }

    #[test]
    fn a_curve_ends_with_the_worst() {
        let mut nanoseconds = Histogram::new(3).unwrap();
        for value in 1..=1000u64 {
            nanoseconds.record(value * 1000).unwrap();
        }
        let curve = curve(&nanoseconds);
        assert_eq!(curve.first().unwrap().0, 0.0);
        assert_eq!(curve.last().unwrap(), &(3.0, nanoseconds.max() as f64));
        assert!(curve.is_sorted_by(|one, next| one.1 <= next.1));
        assert!(super::curve(&Histogram::new(3).unwrap()).is_empty());
    }
}
