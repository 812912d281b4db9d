#!/usr/bin/perl
# One company with 53,000 contacts (5,300 in the quick form): read by pages of associations and in
# batches, once.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Psync;
use Test::More;

# The long form has as many as the largest company known; the quick one as many pages as matter.
my $n = $ENV{BULK_CONTACTS} // ($ENV{CHAOS} ? 53000 : 5300);
my $rig = Psync->new(sim => ['--companies', 1, '--list-members', 1, '--contacts', $n,
    '--customers', 0], settings => {LEASE_S => 10});
$rig->start(qw(webhook-gw scheduler worker));
$rig->connect_hubspot;
my ($code, $out, $err) = $rig->cmd('run-now', 'hubspot', '--wait', '--timeout', '300s');
is $code, 0, 'the full sync succeeds' or diag $err;
is $rig->value('select count(*) from psync_bi.hubspot_contact where in_scope'), $n,
    'all contacts are here';
is $rig->value('select count(distinct company_id) from psync_bi.hubspot_contact'), 1,
    'below their company';
my $endpoints = $rig->sim(GET => 'counters?ids=0')->{hubspot}{endpoints};
my %calls = map { $_ => $endpoints->{$_}{requests} } keys %$endpoints;
my ($reads) = map { $calls{$_} } grep { m{contacts/batch/read} && !/associations/ } keys %calls;
my ($pages) = map { $calls{$_} } grep { m{associations} } keys %calls;
cmp_ok $reads, '<=', int($n / 100) + 1, 'one batch read for 100 contacts';
cmp_ok $pages, '<=', int($n / 500) + 2, 'one page of associations for 500';
is $rig->sim(GET => 'counters?ids=0')->{hubspot}{violations}, 0, 'no limit was passed';
my ($id) = @{$rig->sim_hubspot(GET => 'companies?list=42&ids=1')};

# ---- it leaves, and its contacts with it ----
$rig->sim_hubspot(POST => 'companies', {properties => {name => 'Another', domain => 'a.example'},
    lists => ['42'], notify => JSON::PP::false});
is $rig->run_now('hubspot'), 0, 'another company joins';
$rig->sim_hubspot(POST => 'lists/42/remove', {ids => [$id], notify => JSON::PP::false});
$rig->must('queue', 'rebuild');
wait_for('the contacts of a company that left are outside', 240, sub {
    $rig->value('select count(*) from psync_bi.hubspot_contact where in_scope') == 0;
});
is(($rig->cmd('queue', 'fsck'))[0], 0, 'the queue is sound');
done_testing;
