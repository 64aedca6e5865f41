"""What a box needs before it may talk to a hub: keys made on the box, enrolment by one-time code."""
