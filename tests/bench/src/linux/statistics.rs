//! Medians, ratios and Jain's index.

/// The median of some figures, with the lowest and the highest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Summary {
    pub(crate) median: f64,
    pub(crate) lowest: f64,
    pub(crate) highest: f64,
}

impl Summary {
    /// `None` without figures.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (lowest, highest) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        };
        Some(Self { median, lowest, highest })
    }

    /// The distance of the highest from the lowest, as a part of the median.
    pub(crate) fn spread(self) -> f64 {
        if self.median == 0.0 { 0.0 } else { (self.highest - self.lowest) / self.median }
    }
}

/// The ratios of figures to those that the floor had in the same round: what changes the speed of the whole machine
/// for a while does not change them.
pub(crate) fn ratios(figures: &[Option<f64>], floor: &[Option<f64>]) -> Option<Summary> {
    let pairs = figures.iter().zip(floor).filter_map(|(figure, floor)| Some(((*figure)?, (*floor)?)));
    Summary::of(pairs.filter(|(_, floor)| *floor > 0.0).map(|(figure, floor)| figure / floor))
}

/// The figure that `part` of the figures do not exceed. Sorted figures; 0 without any.
pub(crate) fn quantile(sorted: &[u32], part: f64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a place"
    )]
    let place = (sorted.len() as f64 * part).ceil() as usize;
    sorted.get(place.saturating_sub(1)).copied().unwrap_or_default()
}

/// Jain's index: 1 if all have the same, 1/n if one has all.
pub(crate) fn jain(shares: &[f64]) -> f64 {
    let sum: f64 = shares.iter().sum();
    let squares: f64 = shares.iter().map(|share| share * share).sum();
    #[expect(clippy::cast_precision_loss, reason = "a number of processes")]
    let count = shares.len() as f64;
    if squares == 0.0 { 1.0 } else { sum * sum / (count * squares) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(left: f64, right: f64) -> bool {
        (left - right).abs() < 1e-9
    }

    #[test]
    fn median_of_an_odd_number_is_the_one_in_the_middle() {
        let summary = Summary::of([3.0, 1.0, 2.0]);
        assert_eq!(summary, Some(Summary { median: 2.0, lowest: 1.0, highest: 3.0 }));
    }

    #[test]
    fn median_of_an_even_number_is_between_the_two_in_the_middle() {
        assert!(Summary::of([4.0, 1.0, 2.0, 3.0]).is_some_and(|summary| near(summary.median, 2.5)));
    }

    #[test]
    fn no_figures_have_no_summary() {
        assert_eq!(Summary::of([]), None);
    }

    #[test]
    fn spread_is_relative_to_the_median() {
        assert!(Summary::of([9.0, 10.0, 12.0]).is_some_and(|summary| near(summary.spread(), 0.3)));
        assert!(Summary::of([0.0]).is_some_and(|summary| near(summary.spread(), 0.0)));
    }

    #[test]
    fn ratios_compare_figures_of_the_same_round() {
        let floor = [Some(1.0), Some(10.0), Some(100.0), None];
        let figures = [Some(2.0), Some(20.0), None, Some(7.0)];
        assert_eq!(ratios(&figures, &floor), Some(Summary { median: 2.0, lowest: 2.0, highest: 2.0 }));
    }

    #[test]
    fn ratio_to_nothing_is_left_out() {
        assert_eq!(ratios(&[Some(1.0)], &[Some(0.0)]), None);
    }

    #[test]
    fn quantiles_are_figures_that_were_measured() {
        let sorted: Vec<u32> = (1..=1000).collect();
        assert_eq!([0.5, 0.99, 0.999, 1.0].map(|part| quantile(&sorted, part)), [500, 990, 999, 1000]);
        assert_eq!(quantile(&[7], 0.5), 7);
        assert_eq!(quantile(&[], 0.5), 0);
    }

    #[test]
    fn jain_is_one_for_equal_shares_and_one_of_n_for_a_single_share() {
        assert!(near(jain(&[5.0, 5.0, 5.0, 5.0]), 1.0));
        assert!(near(jain(&[20.0, 0.0, 0.0, 0.0]), 0.25));
        assert!(near(jain(&[0.0, 0.0]), 1.0));
    }
}
