//! `DescribeCluster`: how it is asked and how its answer is read.

use rdkafka_sys as sys;
use sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECLUSTER;

use super::{Call, Event, read};
use crate::ClusterDescription;

pub(crate) fn describe_cluster(call: Call<'_>) {
    let options = call.options(RD_KAFKA_ADMIN_OP_DESCRIBECLUSTER);
    // SAFETY: client, options and queue are alive; librdkafka copies the options.
    unsafe { sys::rd_kafka_DescribeCluster(call.client(), options.pointer(), call.queue()) };
}

pub(crate) fn cluster_description(event: &Event) -> ClusterDescription {
    // SAFETY: the event is alive and an answer to DescribeCluster, and everything read from it lives as long as it does.
    unsafe {
        let result = sys::rd_kafka_event_DescribeCluster_result(event.pointer());
        let controller = sys::rd_kafka_DescribeCluster_result_controller(result);
        let nodes = read::list(|length| sys::rd_kafka_DescribeCluster_result_nodes(result, length));
        ClusterDescription {
            id: read::text(sys::rd_kafka_DescribeCluster_result_cluster_id(result)),
            controller: (!controller.is_null()).then(|| sys::rd_kafka_Node_id(controller)),
            brokers: nodes.iter().map(|node| read::broker(*node)).collect(),
        }
    }
}
