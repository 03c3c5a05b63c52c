"""Signs requests as senders do, with libraries in Python: orders come in as JSON, the headers of each go out."""

import json
import sys
from datetime import datetime, timezone

from slack_sdk.signature import SignatureVerifier
from standardwebhooks import Webhook


def slack(order):
    signature = SignatureVerifier(order["secret"]).generate_signature(timestamp=str(order["time"]), body=order["body"])
    return {"x-slack-request-timestamp": str(order["time"]), "x-slack-signature": signature}


def standard_webhooks(order):
    time = datetime.fromtimestamp(order["time"], tz=timezone.utc)
    return {
        "webhook-id": order["id"],
        "webhook-timestamp": str(order["time"]),
        "webhook-signature": Webhook(order["secret"]).sign(order["id"], time, order["body"]),
    }


SIGNERS = {"Slack": slack, "StandardWebhooks": standard_webhooks}

json.dump([SIGNERS[order["signer"]](order) for order in json.load(sys.stdin)], sys.stdout)
