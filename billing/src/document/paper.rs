//! Text on pages: lines, tables and page numbers, as a PDF that depends on them alone.
//!
//! Two of the fonts every reader has are used, so nothing is embedded; what they cannot show becomes a question mark.
//! The file names no moment and no machine.

use pdf_writer::{Content, Finish as _, Name, Pdf, Rect, Ref, Str, TextStr};

/// A4, in points.
const WIDTH: f32 = 595.0;
const HEIGHT: f32 = 842.0;
/// Left and right of the text.
const MARGIN: f32 = 48.0;
/// Where the first line of a page stands.
const TOP: f32 = HEIGHT - 64.0;
/// Below this no line stands.
const BOTTOM: f32 = 64.0;
/// Size of a table's text, and how far apart its lines are.
const SMALL: (f32, f32) = (8.5, 13.0);

const REGULAR: (Name<'static>, Ref) = (Name(b"R"), Ref::new(3));
const BOLD: (Name<'static>, Ref) = (Name(b"B"), Ref::new(4));

/// A column of a table: where it ends or begins, in points from the left margin.
#[derive(Debug, Clone, Copy)]
pub(super) enum Column {
    /// Text that begins here and has this much room.
    Text(f32, f32),
    /// Figures that end here.
    Figures(f32),
}

/// Pages being written.
pub(super) struct Paper {
    title: String,
    done: Vec<Content>,
    page: Content,
    y: f32,
}

impl Paper {
    /// The first page, with its title on it.
    pub(super) fn new(title: &str) -> Self {
        let mut paper = Self { title: title.to_owned(), done: Vec::new(), page: Content::new(), y: TOP };
        paper.put(BOLD.0, 18.0, MARGIN, title);
        paper.y -= 28.0;
        paper
    }

    /// A line of text.
    pub(super) fn line(&mut self, text: &str) {
        self.room(15.0);
        self.put(REGULAR.0, 10.0, MARGIN, text);
        self.y -= 15.0;
    }

    /// A heading, which does not stand alone at the foot of a page.
    pub(super) fn heading(&mut self, text: &str) {
        self.room(70.0);
        self.y -= 18.0;
        self.put(BOLD.0, 11.0, MARGIN, text);
        self.y -= 18.0;
    }

    /// A table; its head stands on each page it goes over.
    pub(super) fn table<const N: usize>(&mut self, columns: [Column; N], head: [&str; N], rows: &[[String; N]]) {
        self.head(columns, head);
        for row in rows {
            if self.y - SMALL.1 < BOTTOM {
                self.turn();
                self.head(columns, head);
            }
            self.row(REGULAR.0, columns, row.each_ref().map(String::as_str));
        }
    }

    /// A line under a table that says what it comes to.
    pub(super) fn total<const N: usize>(&mut self, columns: [Column; N], row: [&str; N]) {
        self.room(SMALL.1 * 2.0);
        self.rule();
        self.row(BOLD.0, columns, row);
    }

    fn head<const N: usize>(&mut self, columns: [Column; N], head: [&str; N]) {
        self.row(BOLD.0, columns, head);
        self.rule();
    }

    fn row<const N: usize>(&mut self, font: Name<'_>, columns: [Column; N], row: [&str; N]) {
        for (column, text) in columns.into_iter().zip(row) {
            match column {
                Column::Text(from, room) => self.put(font, SMALL.0, MARGIN + from, &fitted(text, SMALL.0, room)),
                Column::Figures(to) => self.put(font, SMALL.0, MARGIN + to - width(text, SMALL.0), text),
            }
        }
        self.y -= SMALL.1;
    }

    fn rule(&mut self) {
        let y = self.y + SMALL.1 - 3.5;
        self.page.set_line_width(0.5).move_to(MARGIN, y).line_to(WIDTH - MARGIN, y).stroke();
        self.y -= 3.0;
    }

    fn room(&mut self, needed: f32) {
        if self.y - needed < BOTTOM {
            self.turn();
        }
    }

    fn turn(&mut self) {
        self.done.push(std::mem::replace(&mut self.page, Content::new()));
        self.y = TOP;
    }

    fn put(&mut self, font: Name<'_>, size: f32, x: f32, text: &str) {
        show(&mut self.page, font, size, (x, self.y), text);
    }

    /// The bytes of the file.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.turn();
        let count = self.done.len();
        let (catalog, tree, info) = (Ref::new(1), Ref::new(2), Ref::new(5));
        let number = |page: usize| i32::try_from(page).unwrap_or(i32::MAX);
        let page_of = |page: usize| Ref::new(6 + 2 * number(page));
        let mut pdf = Pdf::new();
        pdf.catalog(catalog).pages(tree);
        pdf.document_info(info).title(TextStr(&self.title));
        pdf.pages(tree).kids((0..count).map(page_of)).count(number(count));
        for (font, name) in [(REGULAR, Name(b"Helvetica")), (BOLD, Name(b"Helvetica-Bold"))] {
            pdf.type1_font(font.1).base_font(name).encoding_predefined(Name(b"WinAnsiEncoding"));
        }
        for (n, mut content) in self.done.into_iter().enumerate() {
            let foot = format!("{} - page {} of {count}", self.title, n + 1);
            show(&mut content, REGULAR.0, 8.0, (MARGIN, BOTTOM - 28.0), &foot);
            let text = Ref::new(page_of(n).get() + 1);
            let mut page = pdf.page(page_of(n));
            page.media_box(Rect::new(0.0, 0.0, WIDTH, HEIGHT)).parent(tree).contents(text);
            page.resources().fonts().pair(REGULAR.0, REGULAR.1).pair(BOLD.0, BOLD.1);
            page.finish();
            pdf.stream(text, &content.finish());
        }
        pdf.finish()
    }
}

fn show(page: &mut Content, font: Name<'_>, size: f32, (x, y): (f32, f32), text: &str) {
    let shown: Vec<u8> = text.chars().map(shown).collect();
    page.begin_text().set_font(font, size).next_line(x, y).show(Str(&shown)).end_text();
}

/// What the fonts show for a letter.
fn shown(letter: char) -> u8 {
    u8::try_from(letter).ok().filter(|byte| (0x20..0x7f).contains(byte)).unwrap_or(b'?')
}

/// As much of a text as there is room for.
fn fitted(text: &str, size: f32, room: f32) -> String {
    if width(text, size) <= room {
        return text.to_owned();
    }
    let mut cut: String = text.to_owned();
    while !cut.is_empty() && width(&cut, size) + width("...", size) > room {
        cut.pop();
    }
    cut + "..."
}

/// How wide a text is in Helvetica. Figures are as wide in its bold.
fn width(text: &str, size: f32) -> f32 {
    let thousandths: u32 = text.chars().map(|letter| u32::from(WIDTHS[usize::from(shown(letter) - 0x20)])).sum();
    #[allow(clippy::cast_precision_loss)] // A line has a hundred letters.
    let thousandths = thousandths as f32;
    thousandths / 1_000.0 * size
}

/// Widths of Helvetica's letters from the space on, in thousandths of its size, from Adobe's metrics of the font.
const WIDTHS: [u16; 95] = [
    278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278, 556, 556, 556, 556, 556, 556, 556,
    556, 556, 556, 278, 278, 584, 584, 584, 556, 1015, 667, 667, 722, 722, 667, 611, 778, 722, 278, 500, 667, 556, 833,
    722, 778, 667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 278, 278, 278, 469, 556, 333, 556, 556, 500, 556,
    556, 278, 556, 556, 222, 222, 500, 222, 833, 556, 556, 556, 556, 333, 500, 278, 556, 500, 722, 500, 500, 500, 334,
    260, 334, 584,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn long_table() -> Vec<u8> {
        let mut paper = Paper::new("Statement");
        paper.heading("Lines");
        let rows: Vec<[String; 2]> = (0..200).map(|n| [format!("line {n}"), format!("{n}.00")]).collect();
        paper.table([Column::Text(0.0, 100.0), Column::Figures(400.0)], ["what", "USD"], &rows);
        paper.total([Column::Text(0.0, 100.0), Column::Figures(400.0)], ["total", "1.00"]);
        paper.finish()
    }

    #[test]
    fn the_same_text_makes_the_same_bytes_on_as_many_pages_as_it_needs() {
        let bytes = long_table();
        assert_eq!(bytes, long_table());
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.starts_with("%PDF-1.") && text.ends_with("%%EOF"), "{text}");
        assert!(text.contains("/Count 4") && text.contains("page 4 of 4"), "{text}");
        assert_eq!(text.matches("(what)").count(), 4, "a table's head stands on each page");
        assert!((0..200).all(|n| text.contains(&format!("(line {n})"))));
    }

    #[test]
    fn a_text_is_cut_to_its_room_and_what_no_font_shows_is_a_question_mark() {
        let cut = fitted(&"m".repeat(100), 10.0, 100.0);
        assert!(cut.ends_with("...") && width(&cut, 10.0) <= 100.0 && width(&cut, 10.0) > 85.0);
        assert_eq!(fitted("short", 10.0, 100.0), "short");
        assert_eq!(shown('é'), b'?');
        assert_eq!(width("0.", 1_000.0), 834.0);
    }
}
