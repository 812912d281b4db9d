#!/usr/bin/perl
# HubSpot's limits: those of the account's plan are read from its answers, the day ends at midnight
# where the account is, and an account that is being moved waits as long as HubSpot says.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Psync;
use Test::More;

my ($yes, $no) = (JSON::PP::true, JSON::PP::false);
my $rig = Psync->new(sim => ['--companies', 30, '--list-members', 30, '--contacts', 0,
    '--customers', 0]);
# A zone whose midnight is not ours, without daylight saving: twelve hours before Greenwich's date.
my $offset_s = 10 * 3600;
$rig->sim_hubspot(PATCH => '', {settings => {limit_general => 100, account => {
    timeZone => 'Etc/GMT-10', utcOffset => '+10:00', utcOffsetMilliseconds => $offset_s * 1000}}});
$rig->start(qw(webhook-gw scheduler worker));
$rig->connect_hubspot;
is $rig->run_now('hubspot'), 0, 'the first full sync succeeds';
my @members = @{$rig->sim_hubspot(GET => 'companies?list=42&ids=1')};

sub bucket {
    my ($family) = @_;
    my ($row) = grep { $_->{family} eq $family && $_->{provider} eq 'hubspot' }
        @{$rig->cmd_json('quota')};
    return $row;
}

sub state_of {
    return $rig->value(q{select state from psync.connection where provider = 'hubspot'});
}

sub log_of {
    my ($id) = @_;
    my ($row) = $rig->rows("select error_code, status, extract(epoch from next_retry_at) as again
        from psync_bi.sync_log where record_id = '$id' and trigger = 'person'
        order by attempt_id desc limit 1");
    return $row;
}

# What waits is let go on, as midnight or HubSpot would. The scheduler sees that Redis was emptied
# and has its checks made, which cost calls; so nothing is counted before they are.
sub open_again {
    my $seen = q{select count(*) from psync.attempt where trigger = 'system'
        and error_code = 'queue_unavailable'};
    my $before = $rig->value($seen);
    $rig->redis('flushall');
    wait_for('the scheduler makes the queue anew', 20, sub { $rig->value($seen) > $before });
    return;
}

# ---- the plan of the account ----
is bucket('general')->{full_rate_per_s}, 9.6, 'a small plan: fewer calls than the app has by itself';
is bucket('associations')->{full_rate_per_s}, 9.6, 'associations keep their own limit';
is bucket('search')->{full_rate_per_s}, 3.9, 'and so does search';
$rig->sim_hubspot(PATCH => '', {settings => {limit_general => 190}});
is $rig->run_now('hubspot'), 0, 'the account gets a larger plan';
is bucket('general')->{full_rate_per_s}, 18.6, 'which the next answers tell';
is $rig->sim(GET => 'counters?ids=0')->{hubspot}{violations}, 0, 'no limit was passed';
is bucket('general')->{daily_limit}, undef, 'of a daily limit nobody told';

# ---- the day's calls are used up ----
# Midnight there, in seconds; a run over it would have another, so the next one is right, too.
sub midnights { return map { int(($_ + $offset_s) / 86400 + 1) * 86400 - $offset_s } $_[0], time }

sub ends_at_midnight {
    my ($what, $from, $until) = @_;
    my ($near) = grep { abs($until - $_) < 60 } midnights($from);
    ok $near, "$what: until midnight where the account is"
        or diag('until ' . gmtime($until) . ', midnight ' . gmtime((midnights($from))[0]));
    return;
}

my $from = time;
my $id = shift @members;
$rig->fault(provider => 'hubspot', path => "/crm/objects/2026-03/companies/$id",
    error => 'rate-daily', times => -1);
$rig->must('resync', 'hubspot', 'company', $id);
wait_for('a refusal for the day is in the log', 20, sub { log_of($id) });
is log_of($id)->{error_code}, 'rate_limit_daily', 'as what it is';
is log_of($id)->{status}, 'retrying', 'it is tried again';
ends_at_midnight('the record waits', $from, log_of($id)->{again} // 0);
ends_at_midnight("the account is closed", $from, bucket('general')->{closed_until_ms} / 1000);
is bucket('search')->{reason}, 'rate_limit_daily', 'in every family, and quota says why';
is state_of(), 'connected', 'the banner stays';
$rig->sim(POST => 'counters/reset', {});
my $other = shift @members;
$rig->must('resync', 'hubspot', 'company', $other);
my $waiting = $rig->cmd_json('queue', 'stats');
cmp_ok $waiting->{waiting}{interactive} + $waiting->{delayed}, '>=', 1, 'other records wait, too';
is $rig->sim(GET => 'counters?ids=0')->{hubspot}{requests}, 0, 'and nobody asks meanwhile';
$rig->sim(DELETE => 'faults');
open_again();

# Of a private app each answer tells what is left: the last one is not waited for to be refused.
is(($rig->cmd('resync', 'hubspot', 'company', $id, '--wait', '--timeout', '240s'))[0], 0,
    'the next day it is read');
wait_for('nothing is left to do', 20, sub { $rig->idle });
my $usage = json()->decode($rig->http('GET',
    "$rig->{hubspot}/account-info/2026-03/api-usage/daily/private-apps",
    headers => {Authorization => 'Bearer ' . Psync::HUBSPOT_TOKEN})->{content});
# A resync asks whether the company is a member, and reads it: two of them, and one left over.
my $day = $usage->{results}[0]{currentUsage} + 4;
$rig->sim_hubspot(PATCH => '', {settings => {limit_daily => $day}});
$rig->sim(POST => 'counters/reset', {});
$from = time;
is(($rig->cmd('resync', 'hubspot', 'company', shift @members, '--wait', '--timeout', '240s'))[0], 0,
    "of the day's last calls ($_ of 2)")
    for 1, 2;
$rig->must('resync', 'hubspot', 'company', shift @members);
wait_for('the last call of a day closes the account', 20,
    sub { bucket('general')->{closed_until_ms} > 0 });
ends_at_midnight('without a refusal it waits', $from, bucket('general')->{closed_until_ms} / 1000);
is bucket('general')->{daily_limit}, $day, 'quota tells the calls of a day';
is bucket('general')->{daily_left}, 0, 'and what is left of them';
is $rig->sim(GET => 'counters?ids=0')->{hubspot}{requests}, 4, 'the rest waits';
is $rig->sim(GET => 'counters?ids=0')->{hubspot}{violations}, 0, 'nothing was refused';
$rig->sim_hubspot(PATCH => '', {settings => {limit_daily => 0}});
open_again();
wait_for('and is done the next day', 20, sub { $rig->idle });

# ---- locked, moved, the edge ----
for my $case (
    # answer, what is different about it, error type, seconds to wait at least and at most, is the account closed
    ['locked', {}, 'record_locked', 2, 10, 0],
    ['migration', {error => undef, status => 477, headers => {'Retry-After' => 18000},
        body => {status => 'error', message => 'moving', correlationId => 'c'}}, 'provider_migrating', 5 * 3600 - 60, 5 * 3600 + 60, 1],
    ['http-503', {headers => {'Retry-After' => 7}}, 'provider_unavailable', 7, 60, 0],
    # Full jitter begins at nothing: it may be due while its row is still being written.
    ['http-524', {}, 'provider_edge_error', -30, 60, 0],
    ['rate-ten-secondly', {headers => {'Retry-After' => 6}}, 'rate_limit_burst', 5, 8, 0],
) {
    my ($error, $more, $code, $least, $most, $closed) = @$case;
    $id = shift @members;
    $from = time;
    $rig->fault(provider => 'hubspot', path => "/crm/objects/2026-03/companies/$id",
        error => $error, times => 1, %$more);
    $rig->must('resync', 'hubspot', 'company', $id);
    wait_for("$error is in the log", 20, sub { (log_of($id) // {})->{error_code} });
    my ($first) = $rig->rows("select error_code, extract(epoch from next_retry_at - finished_at)
        as after_s from psync_bi.sync_log where record_id = '$id' and trigger = 'person'
        order by attempt_id limit 1");
    is $first->{error_code}, $code, "$error: its type";
    cmp_ok $first->{after_s}, '>=', $least, "$error: not before its time";
    cmp_ok $first->{after_s}, '<=', $most, "$error: nor long after";
    my $until_s = bucket('search')->{closed_until_ms} / 1000;
    if ($closed) {
        cmp_ok $until_s - $from, '>', $least - 5, "$error: the whole account waits";
        is bucket('search')->{reason}, $code, "$error: and quota says why";
    }
    else {
        is $until_s, 0, "$error: the account as a whole does not";
    }
    is state_of(), 'connected', "$error: the banner stays";
    open_again();
    is(($rig->cmd('resync', 'hubspot', 'company', $id, '--wait', '--timeout', '240s'))[0], 0,
        "$error: afterwards the record can be had");
}
is(($rig->cmd('queue', 'fsck'))[0], 0, 'the queue is sound');
done_testing;
