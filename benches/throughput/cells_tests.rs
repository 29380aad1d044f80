//! The tests of the choice of cells.

use clap::Parser;

use crate::cells::{Cell, CellOptions, Fault, Matrix, Spreading};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    cells: CellOptions,
}

fn matrix(options: &[&str]) -> Option<Matrix> {
    let line = ["throughput"].iter().chain(options);
    Line::try_parse_from(line).ok().map(|line| line.cells.matrix())
}

#[test]
fn the_whole_matrix_has_each_cell_once() {
    let matrix = matrix(&[]).unwrap();
    // With one replica there is one way to spread clients.
    assert_eq!(matrix.cells.len(), 4 * 3 * (1 + 2 + 2));
    for (place, cell) in matrix.cells.iter().enumerate() {
        assert!(!matrix.cells[..place].contains(cell), "{cell:?}");
        assert!(cell.replicas > 1 || cell.load == Spreading::Even, "{cell:?}");
    }
    assert_eq!((matrix.window.as_secs(), matrix.windows), (60, 4));
    assert!(matrix.cells.is_sorted_by_key(|cell| cell.replicas));
}

#[test]
fn cells_can_be_chosen() {
    let options = ["--replicas=3", "--limits=10", "--loads=skewed", "--faults=kill", "--minute-seconds=6"];
    let matrix = matrix(&options).unwrap();
    let cell = Cell { replicas: 3, limit: 10, load: Spreading::Skewed, fault: Fault::Kill };
    assert_eq!((matrix.cells, matrix.window.as_secs()), (vec![cell], 6));
}

#[test]
fn what_would_measure_nothing_is_refused() {
    for option in ["--windows=2", "--limits=0", "--replicas=0", "--minute-seconds=61", "--limits=1000001"] {
        assert!(matrix(&[option]).is_none(), "{option}");
    }
}

#[test]
fn clients_spread_as_they_are_told() {
    let asking = |spreading: Spreading, replicas: usize| {
        let clients = spreading.replicas(64, replicas);
        (0..replicas)
            .map(|replica| clients.iter().filter(|client| **client == replica).count())
            .collect::<Vec<_>>()
    };
    assert_eq!(asking(Spreading::Even, 3), [22, 21, 21]);
    assert_eq!(asking(Spreading::Skewed, 3), [58, 3, 3]);
    assert_eq!(asking(Spreading::Skewed, 5), [58, 2, 2, 1, 1]);
    assert_eq!(asking(Spreading::Skewed, 1), [64]);
}
