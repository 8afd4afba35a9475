//! When the client certificate expires. It is never a reason not to try: the clock may be
//! wrong, and the broker decides.

use std::time::SystemTime;

use super::config::Tls;
use super::text;

const DAY: u64 = 24 * 60 * 60;

/// How long before its end a certificate should have been renewed, at most.
const RENEWAL: u64 = 30 * DAY;

/// What the clock says about a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Validity {
    Valid,
    /// It ends within 30 days, or the last third of its time if that is shorter.
    EndsSoon,
    Expired,
    NotYet,
}

fn judge(not_before: u64, not_after: u64, now: u64) -> Validity {
    let renewal = RENEWAL.min(not_after.saturating_sub(not_before) / 3);
    if now < not_before {
        Validity::NotYet
    } else if now > not_after {
        Validity::Expired
    } else if not_after - now <= renewal {
        Validity::EndsSoon
    } else {
        Validity::Valid
    }
}

impl Tls {
    /// When the client certificate in use ceases to be valid, in seconds since 1970.
    pub(crate) fn client_certificate_end(&self) -> Option<u64> {
        self.validity().map(|(_, not_after)| not_after)
    }

    /// Logs if the client certificate is not valid, or not for long.
    pub(super) fn report_validity(&self) {
        let (Some((not_before, not_after)), Some(identity)) = (self.validity(), self.identity())
        else {
            return;
        };
        let now = text::seconds(SystemTime::now());
        let clock = text::time(now);
        let file = identity.cert_file.display();
        match judge(not_before, not_after, now) {
            Validity::Valid => {}
            Validity::EndsSoon => tracing::warn!(
                %file,
                valid_until = text::time(not_after),
                days_left = (not_after - now) / DAY,
                "the client certificate expires soon; renew it"
            ),
            Validity::Expired => tracing::warn!(
                %file,
                valid_until = text::time(not_after),
                clock,
                "the client certificate has expired; renew it, or correct the clock of the vehicle"
            ),
            Validity::NotYet => tracing::warn!(
                %file,
                valid_from = text::time(not_before),
                clock,
                "the client certificate is not valid yet; correct the clock of the vehicle"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_should_be_renewed_in_its_last_month_or_third() {
        let year = 365 * DAY;
        for (now, end, expected) in [
            (99, 100 + year, Validity::NotYet),
            (100, 100 + year, Validity::Valid),
            (69 + year - 30 * DAY, 100 + year, Validity::Valid),
            (100 + year - 30 * DAY, 100 + year, Validity::EndsSoon),
            (100 + year, 100 + year, Validity::EndsSoon),
            (101 + year, 100 + year, Validity::Expired),
            // One of a day.
            (100 + DAY / 2, 100 + DAY, Validity::Valid),
            (100 + DAY * 2 / 3, 100 + DAY, Validity::EndsSoon),
            // It ends before it begins.
            (100, 50, Validity::Expired),
            (u64::MAX, u64::MAX, Validity::EndsSoon),
        ] {
            assert_eq!(judge(100, end, now), expected, "{now}");
        }
    }
}
