//! The proxy's metrics, parsed.

/// All samples of a scrape.
#[derive(Clone, Debug)]
pub struct Samples(Vec<Sample>);

#[derive(Clone, Debug)]
struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

impl Samples {
    /// Parses the text format of Prometheus.
    pub fn parse(text: &str) -> Samples {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        Samples(lines.map(Sample::parse).collect())
    }

    /// The sum of the samples with this name (without `pointsman_`) and these labels; 0 if there is
    /// none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.matching(name, labels).map(|sample| sample.value).sum()
    }

    /// Whether there is such a sample.
    pub fn has(&self, name: &str, labels: &[(&str, &str)]) -> bool {
        self.matching(name, labels).next().is_some()
    }

    /// Attempts at an endpoint with this outcome.
    pub fn attempts(&self, endpoint: &str, outcome: &str) -> f64 {
        self.sum("attempts_total", &[("endpoint", endpoint), ("outcome", outcome)])
    }

    fn matching<'a>(&'a self, name: &'a str, labels: &'a [(&'a str, &'a str)]) -> impl Iterator<Item = &'a Sample> {
        self.0.iter().filter(move |sample| {
            let has = |(name, value): &(&str, &str)| sample.labels.iter().any(|(n, v)| n == name && v == value);
            sample.name.strip_prefix("pointsman_") == Some(name) && labels.iter().all(has)
        })
    }
}

impl Sample {
    fn parse(line: &str) -> Sample {
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line}"));
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let labels = labels.trim_end_matches('}').split("\",").filter(|label| !label.is_empty());
        let labels = labels.map(|label| {
            let (name, value) = label.split_once("=\"").unwrap_or_else(|| panic!("no label: {line}"));
            (name.to_owned(), value.trim_end_matches('"').to_owned())
        });
        let value = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
        Sample { name: name.to_owned(), labels: labels.collect(), value }
    }
}
