#!/usr/bin/perl
# The gateway's clock is ten minutes ahead, or is set back: Redis' and PostgreSQL's agree against
# it, so deliveries signed now are taken, old ones are not, and /readyz says that clocks differ.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Psync;
use Test::More;

my $rig = Psync->new(sim => [qw(--companies 0 --contacts 0 --customers 0)]);
my $metrics = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1')->sockport;
$rig->{settings}{METRICS_LISTEN} = "127.0.0.1:$metrics";

my $offset = "$rig->{dir}/offset";

sub set_clock {
    open my $out, '>', $offset or die;
    print {$out} $_[0];
    close $out;
    return;
}

sub readyz { return $rig->http('GET', $rig->gateway . '/readyz') }
my $id = 0;

sub deliver {
    my (%o) = @_;
    return $rig->deliver_stripe($rig->stripe_event('customer.updated', {id => 'cus_' . ++$id,
        object => 'customer'}), %o)->{status};
}

sub apart_s {
    return $rig->http('GET', "http://127.0.0.1:$metrics/metrics")->{content}
        =~ /^pivotal_sync_clocks_apart_seconds (\S+)$/m ? $1 : undef;
}

set_clock(600);
Psync::below('clock', {CLOCK_OFFSET_FILE => $offset}, sub { $rig->start(qw(webhook-gw)) });
$rig->connect_stripe;
wait_for('it knows that its clock is ahead', 20, sub { readyz()->{content} =~ /clocks are apart.*PostgreSQL/ });
is readyz()->{status}, 200, 'it is ready all the same';
like readyz()->{content}, qr/Redis' is -(600|599|60[01])\.\d s from ours, PostgreSQL's -/,
    '/readyz says how far';
ok apart_s() > 590 && apart_s() < 610, 'and so does what the alert looks at' or diag apart_s();
wait_for('a delivery signed now is taken', 20, sub { deliver() == 200 });
is deliver(at => time + 600), 401, 'one signed at the time that its own clock shows is not';
is deliver(at => time - 290), 200, 'one of 290 s ago is';

set_clock(-600);
is deliver(), 200, 'the clock steps back by twenty minutes: a delivery signed now is taken';
is deliver(at => time - 600), 401, 'and one of ten minutes ago is not';
set_clock(0);
wait_for('and set right, nothing is said any more', 20, sub { readyz()->{content} !~ /apart/ });
cmp_ok apart_s(), '<', 60, 'and there is nothing to alert of';
is deliver(), 200, 'and a delivery is taken';
wait_for('the log has both', 20,
    sub { $rig->log_text('webhook-gw') =~ /clock\.apart.*clock\.together/s });
is $rig->stop('webhook-gw'), 0, 'SIGTERM ends it with 0';
done_testing;
