#!/usr/bin/perl
# What HubSpot may answer instead of a record: its error type in the log, whether it is tried
# again, what the banner says, and that all is well once HubSpot is.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Psync;
use Test::More;

my $no = JSON::PP::false;
# Answer, error type, status of the attempt, state of the connection.
my @cases = (
    ['rate-ten-secondly', 'rate_limit_burst', 'retrying', 'connected'],
    ['rate-daily', 'rate_limit_daily', 'retrying', 'connected'],
    ['rate-search', 'rate_limit_burst', 'retrying', 'connected'],
    ['token-expired', 'auth_token_expired', 'retrying', 'connected'],
    ['token-expired-old-text', 'auth_token_expired', 'retrying', 'connected'],
    ['token-invalid', 'auth_key_invalid', 'failed', 'reauthorize'],
    ['missing-scopes', 'scope_missing', 'failed', 'reauthorize'],
    ['banned', 'permission_denied', 'failed', 'connected'],
    ['not-found', 'record_deleted', 'skipped', 'connected'],
    ['lists-404-html', 'malformed_body', 'retrying', 'connected'],
    ['validation', 'invalid_request', 'failed', 'connected'],
    ['uri-too-long', 'uri_too_long', 'retrying', 'connected'],
    ['locked', 'record_locked', 'retrying', 'connected'],
    ['migration', 'provider_migrating', 'retrying', 'connected'],
    (map { ["http-$_", 'provider_unavailable', 'retrying', 'connected'] } 502, 503, 504, 521),
    (map { ["http-$_", 'provider_edge_error', 'retrying', 'connected'] } 522 .. 526, 530),
);
# What the table promises of each error type.
my %table;
{
    open my $f, '<', Psync::root() . '/common/error_types.tsv' or die "error types: $!";
    chomp(my @names = split /\t/, scalar <$f>);
    while (my $line = <$f>) {
        chomp $line;
        my %row;
        @row{@names} = split /\t/, $line, -1;
        $table{$row{code}} = \%row;
    }
}
my $rig = Psync->new(sim => ['--companies', 40, '--list-members', 40, '--contacts', 0,
    '--customers', 0]);
$rig->start(qw(webhook-gw scheduler worker));
$rig->connect_hubspot(hooks => 1);
is $rig->run_now('hubspot'), 0, 'the first full sync succeeds';
my @members = @{$rig->sim_hubspot(GET => 'companies?list=42&ids=1')};

sub state_of {
    my ($row) = $rig->rows(q{select * from psync_bi.connection_status where provider = 'hubspot'});
    return $row;
}

# What a person is told, in the log's view and by the command; once for a type.
my %told;
sub told {
    my ($error, $code) = @_;
    return if $told{$code}++;
    my ($type) = $rig->rows("select * from psync_bi.error_reference where code = '$code'");
    is $type->{user_action}, $table{$code}{user_action}, "$error: it says what to do";
    my (undef, $out) = $rig->cmd('explain', $code);
    (my $text = $out) =~ s/\s+/ /g;
    (my $want = $table{$code}{user_action}) =~ s/\s+/ /g;
    ok index($text, $want) >= 0, "$error: so does explain" or diag $out;
    return;
}

sub well_again {
    $rig->sim(DELETE => 'faults');
    $rig->redis('flushall');    # limits and breakers are forgotten, too
    $rig->connect_hubspot(no_scope => 1) if state_of()->{state} ne 'connected';
    $rig->must('queue', 'rebuild');
    return;
}

for my $case (@cases) {
    my ($error, $code, $status, $state) = @$case;
    my $id = shift @members;
    $rig->fault(provider => 'hubspot', path => "/crm/objects/2026-03/companies/$id",
        error => $error, times => -1);
    $rig->must('resync', 'hubspot', 'company', $id);
    my $log = wait_for("$error is in the log", 20, sub {
        my ($row) = $rig->rows("select * from psync_bi.sync_log where record_id = '$id'
            and trigger = 'person' order by attempt_id limit 1");
        return $row;
    }) or next;
    is $log->{error_code}, $code, "$error: its error type";
    is $log->{status}, $status, "$error: what becomes of it";
    is $log->{retry}, $table{$code}{retry}, "$error: tried again as the table says";
    is $state, $table{$code}{banner} eq '' ? 'connected' : $table{$code}{banner},
        "$error: the banner is that of the table";
    told($error, $code);
    wait_for("$error: the banner", 10, sub { state_of()->{state} eq $state });
    like state_of()->{state_reason}, qr/crm\.objects\.companies\.read/,
        "$error: the reason names the scope" if $error eq 'missing-scopes';
    if ($status ne 'skipped') {
        my ($shown) = $rig->cmd_json('show', $log->{attempt_id}, '--body');
        $shown = $shown->[0] if ref $shown eq 'ARRAY';
        ok $shown->{body}{status} && $shown->{body}{status} == $log->{http_status},
            "$error: the answer is kept";
    }
    well_again();
    my ($exit, $out, $err) = $rig->cmd('resync', 'hubspot', 'company', $id, '--wait',
        '--timeout', '240s');
    is $exit, 0, "$error: afterwards the record can be had" or diag "$out$err";
}

# ---- answers of searches, associations and batches ----
# That Redis was emptied (above) has a line of its own, which comes when the scheduler sees it.
my $check = q{kind = 'check' and trigger <> 'system'};
for my $case (
    # answer, path, what asks, error type, where the log has it
    ['rate-search', '/crm/objects/2026-03/companies/search', 'catch-up', 'rate_limit_search',
        $check],
    ['search-past-10000', '/crm/objects/2026-03/companies/search', 'catch-up', undef, $check],
    ['rate-associations', '/crm/associations/', 'run', 'rate_limit_burst', q{kind = 'chunk'}],
) {
    my ($error, $path, $what, $code, $where) = @$case;
    my $before = $rig->value('select coalesce(max(attempt_id), 0) from psync.attempt');
    my $fault = $rig->fault(provider => 'hubspot', path => $path, error => $error, times => 1);
    $rig->must($what eq 'run' ? ('run-now', 'hubspot') : ('queue', 'rebuild'));
    my $log = wait_for("$error: it is in the log", 20, sub {
        my ($row) = $rig->rows("select * from psync_bi.sync_log where attempt_id > $before
            and error_code <> '' and $where order by attempt_id limit 1");
        return $row;
    }) or next;
    is $log->{error_code}, $code, "$error: its error type" if $code;
    $code = $log->{error_code};
    is $log->{retry}, $table{$code}{retry}, "$error: tried again as the table says";
    is state_of()->{state}, 'connected', "$error: the banner stays";
    is $table{$code}{banner}, '', "$error: as the table has it";
    told($error, $code);
    well_again();
    wait_for("$error: afterwards all is worked", 40, sub { $rig->idle });
}
# A batch of two, one of which is not there: the other is read all the same.
my ($there, $gone) = splice @members, 0, 2;
my $batch = $rig->fault(provider => 'hubspot', path => '/crm/objects/2026-03/companies/',
    until_released => JSON::PP::true);
$rig->cmd('resync', 'hubspot', 'company', $members[0]);
wait_for('a call is under way', 20, sub { $rig->held($batch) });
$rig->sim_hubspot(DELETE => "companies/$gone", {notify => $no});
$rig->sim_hubspot(PATCH => "companies/$there", {properties => {name => 'Still there'}, notify => $no});
$rig->deliver_hubspot($rig->hubspot_events(map { {objectId => $_ + 0} } $there, $gone));
$rig->sim(DELETE => "faults/$batch");
wait_for('batch-207: who is there is read', 20, sub {
    $rig->value("select name from psync_bi.hubspot_company where record_id = '$there'") eq 'Still there';
});
wait_for('batch-207: who is not has its line', 20, sub {
    $rig->value("select count(*) from psync_bi.sync_log where record_id = '$gone'
        and error_code = 'record_deleted'") == 1;
});
wait_for('nothing is left to do', 40, sub { $rig->idle });

# ---- a scope that is not granted ----
for my $case (['crm.lists.read', sub { $rig->cmd('run-now', 'hubspot', '--wait', '--timeout', '20s') }],
    ['crm.objects.owners.read', sub { $rig->cmd('run-now', 'hubspot', '--wait', '--timeout', '20s') }],
    ['crm.schemas.companies.read', sub { $rig->cmd('scope', 'set', 'hubspot', 'list', 42) }]) {
    my ($scope, $do) = @$case;
    $rig->sim_hubspot(PATCH => 'scopes', {remove => [$scope]});
    $do->();
    wait_for("$scope is missing: reauthorize", 20, sub { state_of()->{state} eq 'reauthorize' });
    like state_of()->{state_reason}, qr/\Q$scope\E/, "$scope: the reason names it";
    is state_of()->{state_code}, 'scope_missing', "$scope: and why";
    my ($code, $out, $err) = $rig->cmd('status', '--check');
    is $code, 4, "$scope: status --check";
    $rig->sim_hubspot(PATCH => 'scopes', {add => [$scope]});
    well_again();
    wait_for("$scope: granted again", 30, sub { state_of()->{state} eq 'connected' });
    $rig->cmd('run-now', 'hubspot', '--wait', '--timeout', '40s');
}
wait_for('nothing is left to do', 40, sub { $rig->idle });
is $rig->run_now('hubspot'), 0, 'all is well in the end';
is $rig->value(q{select count(*) from psync_bi.record_health where object_type = 'company'
    and state = 'failing'}), 0, 'no record is left failing';
is(($rig->cmd('queue', 'fsck'))[0], 0, 'the queue is sound');
done_testing;
