#!/usr/bin/perl
# What one record went through, over whatever brought it to work: deliveries, full syncs, tries
# by hand. The attempt that succeeds resolves those before it, and log and show say so; what is
# older than 30 days is gone.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Psync;
use Test::More;

my $rig = Psync->new(session => 1, sim => [qw(--companies 6 --list-members 6 --contacts 0
    --customers 0)]);
$rig->start(qw(webhook-gw scheduler worker));
my $hubspot = $rig->connect_hubspot(hooks => 1);
is $rig->run_now('hubspot'), 0, 'HubSpot is mirrored';
my ($id, $other) = @{$rig->sim_hubspot(GET => 'companies?list=42&ids=1')};

# Newest first, as the command has it.
sub history { return @{$rig->cmd_json('log', 'hubspot', '--record', $id, @_)} }
sub told { return join ' ', map { "$_->{trigger}:$_->{status}" } @_ }
sub mark { return $rig->value('select coalesce(max(attempt_id), 0) from psync.attempt') }

# ---- two attempts of long ago: inside and outside of the 30 days ----
$rig->value(q{do $$ declare w timestamptz; begin for n in 2 .. 8 loop
    w := date_trunc('week', now() at time zone 'UTC') at time zone 'UTC' - make_interval(weeks => n);
    execute format('create table psync.%I partition of psync.attempt for values from (%s) to (%s)',
        'attempt_' || to_char(w at time zone 'UTC', 'IYYY"w"IW'), psync.attempt_floor(w),
        psync.attempt_floor(w + interval '1 week'));
    end loop; end $$});
my %old = map { $_ => $rig->value("insert into psync.attempt (attempt_id, connection_id, kind,
    trigger, object_type, record_id, status, error_code, error_message, error_count, started_at)
    values (psync.attempt_floor(now() - interval '$_ days'), $hubspot, 'record', 'nightly',
    'company', '$id', 'partial', 'map_type_mismatch', 'of long ago', 1,
    now() - interval '$_ days') returning attempt_id") } 29, 31, 45;

# ---- four attempts that do not succeed, each come by another way ----
my $after = mark();
my $no = JSON::PP::false;
$rig->sim_hubspot(PATCH => "companies/$id", {properties => {annualrevenue => '1,2 Mio'}});
wait_for('by a delivery', 30, sub { told(history()) =~ /^webhook:partial/ });
my ($first) = history();
is(($rig->cmd('retry', $first->{attempt_id}, '--wait', '--timeout', '60s'))[0], 6,
    'a try by hand while the cause is there');
is(($rig->cmd('resync', 'hubspot', $id, '--wait', '--timeout', '60s'))[0], 6, 'and a resync');
is(($rig->cmd('run-now', 'hubspot', '--wait', '--timeout', '60s'))[0], 6, 'and a full sync');
my @rows = history();
is scalar(@rows), 5, 'the history has each, and the one of 29 days ago' or diag explain \@rows;
is_deeply [map { $_->{attempt_id} } @rows], [sort { $b <=> $a } map { $_->{attempt_id} } @rows],
    'newest first';
is $rows[-1]{attempt_id}, $old{29}, 'it ends with that one';
is_deeply [map { $_->{status} } @rows], [('partial') x 5], 'each in part';
is_deeply [map { $_->{error_code} } @rows], [('map_type_mismatch') x 5], 'for one reason';
is_deeply [grep { $_->{resolved} } @rows], [], 'nothing is resolved yet';
is_deeply [grep { $_->{record_id} ne $id } @rows], [], 'and no other record is in it';
ok((grep { defined $_->{run_id} } @rows), 'the row of the full sync names its run');
my ($again) = grep { ($_->{retry_of} // '') eq $first->{attempt_id} } @rows;
ok $again, 'the try by hand names what it repeats';
is scalar(history('--errors-only')), 5, 'log --errors-only has them all';
my $shown = $rig->must('show', $first->{attempt_id});
like $shown, qr/^Retry\s+.*pivotal-sync retry $first->{attempt_id}/m, 'show says how to try again';
unlike $shown, qr/^Resolved/m, 'and of nothing that resolved it';

# ---- the cause is mended ----
$rig->sim_hubspot(PATCH => "companies/$id", {properties => {annualrevenue => '1200000'}, notify => $no});
my ($code, $out, $err) = $rig->cmd('retry', $first->{attempt_id}, '--wait', '--timeout', '60s');
is $code, 0, 'the try that succeeds' or diag "$out$err";
@rows = history();
is "$rows[0]{status} $rows[0]{error_code}", 'succeeded ', 'stands at the top of the history';
is $rows[0]{retry_of}, $rows[1]{attempt_id}, 'and names the try that it repeats';
is $rig->value("select fields ->> 'arr' from psync.customer c join psync.record_link l
    using (customer_id) where l.record_id = '$id'"), '1200000', 'the value is here';
is_deeply [map { $_->{resolved} ? 1 : 0 } @rows], [0, 1, 1, 1, 1, 1],
    'it has resolved every one before it, that of 29 days ago too';
is $rig->value("select count(distinct resolved_by) || ' ' || min(resolved_by) from psync.attempt
    where record_id = '$id' and resolved_by is not null"), "1 $rows[0]{attempt_id}",
    'and they say by which attempt';
is $rig->value("select fail_count || state from psync_bi.record_health where record_id = '$id'"),
    '0in_sync', 'the record is well';
$shown = $rig->must('show', $first->{attempt_id});
like $shown, qr/^Resolved\s+by attempt $rows[0]{attempt_id},/m, 'show of the first says so';
like $rig->must('show', $rows[0]{attempt_id}), qr/^Repeats\s+attempt $rows[1]{attempt_id}$/m,
    'and that of the last names what it repeated';
unlike $shown, qr/^(?:Retry|Next try)/m, 'and offers no other try';
my ($attempts) = $shown =~ /^Attempts\s+(.*?)^\S/ms;
$attempts =~ s/\s+/ /g;
like $attempts, qr/^\S+ \S+ succeeded \(\w+\), \S+ \S+ partial/, 'its list begins with the newest';
is scalar(() = $attempts =~ /partial/g), 5, 'and holds what was before';
my $one = json->decode($rig->must('show', $first->{attempt_id}, '-o', 'json'));
is ref $one eq 'ARRAY' ? $one->[0]{resolved} : $one->{resolved}, JSON::PP::true,
    'as does its JSON';
($code, $out, $err) = $rig->cmd('retry', $first->{attempt_id});
is $code, 0, 'retry of a resolved attempt';
like $out . $err, qr/resolved|succeeded/i, 'says that there is nothing to do';
is mark(), $rig->value("select max(attempt_id) from psync.attempt where record_id = '$id'
    or record_id is null"), 'and does nothing';

# ---- a new error of the same record is a new one ----
$rig->sim_hubspot(PATCH => "companies/$id", {properties => {annualrevenue => 'none'}});
wait_for('a value that does not fit again', 30, sub { told(history()) =~ /^webhook:partial/ });
@rows = history();
is $rows[0]{resolved} ? 1 : 0, 0, 'what succeeded before it resolves nothing of it';
is $rig->value("select state from psync_bi.record_health where record_id = '$id'"), 'failing',
    'the record is not well';
$rig->sim_hubspot(PATCH => "companies/$id", {properties => {annualrevenue => '7'}});
wait_for('a delivery that succeeds resolves it as well', 30, sub { (history())[1]{resolved} });

# ---- thirty days ----
is scalar(grep { $_->{attempt_id} eq $old{31} || $_->{attempt_id} eq $old{45} } history()), 0,
    'what is older than 30 days is in no history';
is(($rig->cmd('show', $old{29}))[0], 0, 'show of one of 29 days ago');
is(($rig->cmd('show', $old{31}))[0], 3, 'show of one of 31 days ago: there is none');
$rig->value('select psync.drop_partitions()');
is $rig->value("select count(*) from psync.attempt where attempt_id = $old{45}"), 0,
    'a week that is wholly older is dropped';
is $rig->value("select count(*) from psync.attempt where attempt_id = $old{29}"), 1,
    'one that is not stays';
done_testing;
