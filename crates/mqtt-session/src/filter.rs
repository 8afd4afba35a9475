//! Topic filters in SUBSCRIBE.

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, RetainForwardRule};

use crate::application::{Qos, Subscription};

/// A subscription as it is in the packet.
pub(crate) fn filter(subscription: &Subscription) -> Filter {
    let retain_forward_rule = if subscription.send_retained {
        RetainForwardRule::OnEverySubscribe
    } else {
        RetainForwardRule::Never
    };
    Filter {
        path: subscription.filter.clone(),
        qos: packet_qos(subscription.qos),
        nolocal: subscription.no_local,
        preserve_retain: subscription.retain_as_published,
        retain_forward_rule,
    }
}

fn packet_qos(qos: Qos) -> QoS {
    match qos {
        Qos::AtMostOnce => QoS::AtMostOnce,
        Qos::AtLeastOnce => QoS::AtLeastOnce,
    }
}
