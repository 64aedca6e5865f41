"""The two edits of dummy_hcd, the kernel's USB host whose devices are gadgets of the same kernel.

ISOCHRONOUS: stock Linux refuses isochronous transfers there, so a USB microphone (uac2) or camera (uvc)
cannot be emulated. With this edit each isochronous endpoint has a clock of its own: one packet for each
service interval, whether or not the gadget has something to send, as on a real bus. If the kernel was held
up, the packets that are due are made up for, up to a second; a stream whose URBs are taken back has ended,
and the next one has a clock of its own.

QUIET: stock Linux looks at its queues each 125 µs for as long as any transfer waits, which an open serial
port always does. That is 8000 timer interrupts a second of a guest which pays for each, and in virtual time
the difference between minutes and days. With this edit the timer sleeps until the next moment at which
something can move: a gadget that queues a request wakes it.
"""

__all__ = ["ISOCHRONOUS", "PATH", "QUIET"]

PATH = "drivers/usb/gadget/udc/dummy_hcd.c"


def _endpoints(first: int) -> tuple[str, str]:
    """Offer a pair of isochronous endpoints that stands commented out."""
    pair = (
        f'\tEP_INFO("ep{first}in-iso",\n\t\tUSB_EP_CAPS(USB_EP_CAPS_TYPE_ISO, USB_EP_CAPS_DIR_IN)),\n'
        f'\tEP_INFO("ep{first + 1}out-iso",\n\t\tUSB_EP_CAPS(USB_EP_CAPS_TYPE_ISO, USB_EP_CAPS_DIR_OUT)),\n'
    )
    return f"/*\n{pair}*/\n", pair


_FUNCTIONS = """\
/* A stream that is further behind than this starts afresh. */
#define ISO_CATCH_UP_MS		1000

static u64 iso_interval_ns(struct urb *urb)
{
	/* counted in frames of 1 ms at full speed, in microframes above */
	return (u64)urb->interval *
		(urb->dev->speed == USB_SPEED_FULL ? 1000000 : 125000);
}

/* One packet: of what the gadget has queued, or empty. Caller must own lock. */
static void iso_packet(struct dummy *dum, struct dummy_ep *ep, struct urb *urb,
		struct usb_iso_packet_descriptor *packet)
{
	void			*host = urb->transfer_buffer + packet->offset;
	int			to_host = usb_urb_dir_in(urb);
	struct dummy_request	*req;
	u32			len;

	req = list_first_entry_or_null(&ep->queue, struct dummy_request, queue);
	packet->status = 0;
	packet->actual_length = to_host ? 0 : packet->length;
	if (req) {
		len = min(packet->length, req->req.length);
		if (to_host) {
			memcpy(host, req->req.buf, len);
			packet->actual_length = len;
			if (len < req->req.length) {
				packet->status = -EOVERFLOW;
				urb->error_count++;
			}
		} else {
			memcpy(req->req.buf, host, len);
		}
		req->req.actual = len;
		req->req.status = len < packet->length && !to_host ?
				-EOVERFLOW : 0;
	}
	urb->actual_length += packet->actual_length;
	if (req) {
		list_del_init(&req->queue);
		dummy_giveback(dum, &ep->ep, req);
	}
}

/* All packets of an URB whose time has come. Caller must own lock. */
static void iso_transfer(struct dummy *dum, struct dummy_ep *ep,
		struct urb *urb, int *status)
{
	struct urbp	*urbp = urb->hcpriv;
	ktime_t		now = ktime_get();

	if (ktime_ms_delta(now, ep->iso_next) > ISO_CATCH_UP_MS)
		ep->iso_next = now;
	while (urbp->iso_packets < urb->number_of_packets) {
		if (ktime_after(ep->iso_next, now) || urb->unlinked)
			return;
		ep->iso_next = ktime_add_ns(ep->iso_next, iso_interval_ns(urb));
		iso_packet(dum, ep, urb,
			   &urb->iso_frame_desc[urbp->iso_packets++]);
	}
	*status = 0;
}

static struct dummy_ep *urb_endpoint(struct dummy *dum, struct urb *urb)
{
	u8	address = usb_pipeendpoint(urb->pipe);

	if (usb_urb_dir_in(urb))
		address |= USB_DIR_IN;
	return find_endpoint(dum, address);
}

/* The host takes URBs back when it ends a stream: the next one has a clock of its own. */
static void iso_unlinked(struct dummy *dum, struct urb *urb)
{
	struct dummy_ep	*ep = urb_endpoint(dum, urb);

	if (ep && usb_pipeisoc(urb->pipe))
		ep->iso_next = 0;
}

"""

_TIMER = """\
/*
 * Drive both sides of the transfers; looks like irq handlers to both
"""

ISOCHRONOUS: tuple[tuple[str, str], ...] = (
    (" * Note: The emulation does not include isochronous transfers!\n", ""),
    ("/* we don't provide isochronous endpoints since we don't support them */\n", ""),
    # What a test finds in /sys/module/dummy_hcd/parameters: this kernel can carry a microphone or a camera.
    (
        'MODULE_PARM_DESC(num, "number of emulated controllers");\n',
        'MODULE_PARM_DESC(num, "number of emulated controllers");\n'
        "static bool isochronous = true;\nmodule_param(isochronous, bool, S_IRUGO);\n"
        'MODULE_PARM_DESC(isochronous, "true: isochronous transfers are emulated");\n',
    ),
    _endpoints(3),
    _endpoints(8),
    _endpoints(13),
    (
        "\tunsigned long\t\t\tlast_io;\t/* jiffies timestamp */\n",
        "\tunsigned long\t\t\tlast_io;\t/* jiffies timestamp */\n"
        "\tktime_t\t\t\t\tiso_next;\t/* when its next packet is due */\n",
    ),
    ("\tu32\t\t\tmiter_started;\n", "\tu32\t\t\tmiter_started;\n\tint\t\t\tiso_packets;\t/* dealt with */\n"),
    ("\turbp->miter_started = 0;\n", "\turbp->miter_started = 0;\n\turbp->iso_packets = 0;\n"),
    # The emulated one-packet FIFO takes a request before its time.
    (
        "\t\t\t!dum->fifo_req_busy &&\n",
        "\t\t\t!dum->fifo_req_busy &&\n\t\t\t!usb_endpoint_xfer_isoc(ep->desc) &&\n",
    ),
    (_TIMER, _FUNCTIONS + _TIMER),
    (
        "\t\tif (urb->unlinked)\n\t\t\tgoto return_urb;\n\t\telse if (dum_hcd->rh_state",
        "\t\tif (urb->unlinked) {\n\t\t\tiso_unlinked(dum, urb);\n\t\t\tgoto return_urb;\n"
        "\t\t} else if (dum_hcd->rh_state",
    ),
    (
        """\
			/*
			 * We don't support isochronous.  But if we did,
			 * here are some of the issues we'd have to face:
			 *
			 * Is it urb->interval since the last xfer?
			 * Use urb->iso_frame_desc[i].
			 * Complete whether or not ep has requests queued.
			 * Report random errors, to debug drivers.
			 */
			limit = max(limit, periodic_bytes(dum, ep));
			status = -EINVAL;	/* fail all xfers */
			break;
""",
        "\t\t\tep->last_io = jiffies;\n\t\t\tiso_transfer(dum, ep, urb, &status);\n\t\t\tbreak;\n",
    ),
)

_NEXT_TURN = """\
/* A look at everything now and then costs nothing and forgives a wake-up that was forgotten. */
#define DUMMY_NAP_NSECS		(100 * NSEC_PER_MSEC)

/* How long until an URB can move, as far as is known now. Caller must own lock. */
static s64 next_turn_ns(struct dummy_hcd *dum_hcd)
{
	struct dummy	*dum = dum_hcd->dum;
	ktime_t		now = ktime_get();
	s64		wait = DUMMY_NAP_NSECS;
	struct urbp	*urbp;

	list_for_each_entry(urbp, &dum_hcd->urbp_list, urbp_list) {
		struct urb	*urb = urbp->urb;
		struct dummy_ep	*ep = urb_endpoint(dum, urb);

		if (urb->unlinked || !ep || ep == &dum->ep[0] || ep->halted)
			return DUMMY_TIMER_INT_NSECS;
		if (usb_pipeisoc(urb->pipe))
			wait = min(wait, ktime_to_ns(ktime_sub(ep->iso_next, now)));
		else if (!list_empty(&ep->queue))
			return DUMMY_TIMER_INT_NSECS;
	}
	return max_t(s64, wait, DUMMY_TIMER_INT_NSECS);
}

"""

# timer_pending keeps its meaning, "will look within an interval": whoever finds it unset starts the timer,
# which also ends a nap.
_WAKE = """\
/* The gadget did something that an URB may have waited for. Caller must own lock. */
static void dummy_wake(struct dummy *dum)
{
	struct dummy_hcd	*dum_hcd = gadget_to_dummy_hcd(&dum->gadget);

	if (!dum_hcd->timer_pending && !dum_hcd->looking &&
			!list_empty(&dum_hcd->urbp_list)) {
		dum_hcd->timer_pending = 1;
		hrtimer_start(&dum_hcd->timer, ns_to_ktime(DUMMY_TIMER_INT_NSECS),
				HRTIMER_MODE_REL_SOFT);
	}
}

"""

_GIVEBACK = """\
/*
 * Give back a gadget request with dum->lock dropped around the callback.
"""

QUIET: tuple[tuple[str, str], ...] = (
    (_GIVEBACK, _WAKE + _GIVEBACK),
    (_TIMER, _NEXT_TURN + _TIMER),
    (
        "\t\tlist_add_tail(&req->queue, &ep->queue);\n\tspin_unlock_irqrestore(&dum->lock, flags);\n\n"
        "\t/* real hardware would likely enable transfers here, in case\n"
        "\t * it'd been left NAKing.\n\t */\n",
        "\t\tlist_add_tail(&req->queue, &ep->queue);\n\tdummy_wake(dum);\n"
        "\tspin_unlock_irqrestore(&dum->lock, flags);\n\n",
    ),
    # While the timer's function runs, with the lock dropped for each giveback, it needs no waking.
    ("\tunsigned\t\t\ttimer_pending:1;\n", "\tunsigned\t\t\ttimer_pending:1;\n\tunsigned\t\t\tlooking:1;\n"),
    ("\tdum_hcd->next_frame_urbp = NULL;\n", "\tdum_hcd->next_frame_urbp = NULL;\n\tdum_hcd->looking = 1;\n"),
    (
        "\tif (list_empty(&dum_hcd->urbp_list)) {\n\t\tusb_put_dev(dum_hcd->udev);\n",
        "\tdum_hcd->looking = 0;\n"
        "\tif (list_empty(&dum_hcd->urbp_list)) {\n\t\tusb_put_dev(dum_hcd->udev);\n",
    ),
    # A halted or disabled endpoint fails its URBs.
    (
        "\tep->stream_en = 0;\n\tnuke(dum, ep);\n",
        "\tep->stream_en = 0;\n\tnuke(dum, ep);\n\tdummy_wake(dum);\n",
    ),
    (
        "\tstruct dummy_ep\t\t*ep;\n\tstruct dummy\t\t*dum;\n\n\tif (!_ep)\n\t\treturn -EINVAL;\n"
        "\tep = usb_ep_to_dummy_ep(_ep);\n",
        "\tstruct dummy_ep\t\t*ep;\n\tstruct dummy\t\t*dum;\n\tunsigned long\t\tflags;\n\n\tif (!_ep)\n"
        "\t\treturn -EINVAL;\n\tep = usb_ep_to_dummy_ep(_ep);\n",
    ),
    (
        "\t/* FIXME clear emulated data toggle too */\n\treturn 0;\n",
        "\tspin_lock_irqsave(&dum->lock, flags);\n\tdummy_wake(dum);\n"
        "\tspin_unlock_irqrestore(&dum->lock, flags);\n\treturn 0;\n",
    ),
    (
        """\
		/* want a 1 msec delay here */
		dum_hcd->timer_pending = 1;
		hrtimer_start(&dum_hcd->timer, ns_to_ktime(DUMMY_TIMER_INT_NSECS),
				HRTIMER_MODE_REL_SOFT);
""",
        """\
		s64 wait = next_turn_ns(dum_hcd);

		dum_hcd->timer_pending = wait <= DUMMY_TIMER_INT_NSECS;
		hrtimer_start(&dum_hcd->timer, ns_to_ktime(wait),
				HRTIMER_MODE_REL_SOFT);
""",
    ),
)
