#!/usr/bin/perl
# Merge, restore, privacy deletion, and every change that an incremental sync cannot see: found
# again by the full one.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Psync;
use Test::More;

my ($yes, $no) = (JSON::PP::true, JSON::PP::false);
my $rig = Psync->new(sim => [qw(--companies 60 --list-members 40 --contacts 80 --customers 0)]);
$rig->start(qw(webhook-gw scheduler worker));
$rig->sim_hubspot(POST => 'properties/companies', {name => 'health_score', type => 'number',
    fieldType => 'calculation_equation', calculated => $yes});
$rig->connect_hubspot(hooks => 1);
is $rig->run_now('hubspot'), 0, 'the first full sync succeeds';
my @members = @{$rig->sim_hubspot(GET => 'companies?list=42&ids=1')};

sub one {
    my ($view, $id) = @_;
    my ($row) = $rig->rows("select * from psync_bi.$view where record_id = '$id'");
    return $row // {};
}
sub company { return one('hubspot_company', @_) }
sub contact { return one('hubspot_contact', @_) }

sub customer_of {
    my ($id) = @_;
    my ($row) = $rig->rows("select c.* from psync_bi.customer c join psync.record_link l
        using (customer_id) where l.object_type = 'company' and l.record_id = '$id'");
    return $row // {};
}

sub logged {
    my ($id, $code) = @_;
    return $rig->value("select count(*) from psync_bi.sync_log where record_id = '$id'
        and error_code = '$code'");
}

sub other_domains {    # two seeded companies may share one
    my ($id) = @_;
    $rig->sim_hubspot(PATCH => "companies/$id", {properties => {domain => "c$id.example"}});
    return;
}

# ---- merges ----
for my $case ([0, $no, 'into the winner'], [4, $yes, 'into a new record']) {
    my ($at, $new, $what) = @$case;
    my ($winner, $loser) = @members[$at, $at + 1];
    my $lost = customer_of($loser)->{customer_id};
    my $staff = $rig->sim_hubspot(POST => 'contacts', {properties => {firstname => 'Staff'},
        associations => {companies => [$loser]}})->{id};
    wait_for("$what: a contact of the loser", 20, sub { contact($staff)->{in_scope} });
    my $answer = $rig->sim_hubspot(POST => 'companies/merge',
        {primary => $winner, merged => [$loser], new_id => $new});
    my $survivor = $new ? $answer->{id} // $answer->{record}{id} // $answer->{newObjectId}
        : $winner;
    ok $survivor, "$what: there is a survivor" or diag explain $answer;
    $rig->sim_hubspot(POST => 'lists/42/add', {ids => [$survivor], notify => $no}) if $new;
    wait_for("$what: the loser is gone", 20, sub { defined company($loser)->{deleted_at} });
    wait_for("$what: and its log line says merged", 20, sub { logged($loser, 'record_merged') });
    is $rig->value("select merged_into from psync.record where record_id = '$loser'
        and object_type = 'company'"), $survivor, "$what: into whom";
    wait_for("$what: its customer is archived", 20,
        sub { defined customer_of($loser)->{archived_at} });
    is customer_of($loser)->{customer_id}, $lost, "$what: and kept";
    wait_for("$what: the survivor is fresh", 20, sub {
        my $truth = $rig->sim_hubspot(GET => "companies/$survivor");
        $rig->run_now('hubspot') if $new && !company($survivor)->{in_scope};
        return company($survivor)->{in_scope}
            && company($survivor)->{name} eq ($truth->{properties}{name} // '');
    });
    if ($new) {
        wait_for("$what: the old winner is gone, too", 20,
            sub { defined company($winner)->{deleted_at} });
    }
}

# ---- deletion and restore ----
my $gone = $members[10];
my $kept = customer_of($gone)->{customer_id};
$rig->sim_hubspot(DELETE => "companies/$gone");
wait_for('a deleted company is archived', 20, sub { defined customer_of($gone)->{archived_at} });
ok logged($gone, 'record_deleted'), 'and the log says deleted';
ok defined company($gone)->{deleted_at}, 'its row stays, marked';
$rig->sim_hubspot(POST => "companies/$gone/restore");
$rig->sim_hubspot(POST => 'lists/42/add', {ids => [$gone], notify => $no});
wait_for('restored it lives again', 20, sub { !defined customer_of($gone)->{archived_at} });
is customer_of($gone)->{customer_id}, $kept, 'as the customer it was';

# ---- privacy deletion ----
my $person = $rig->sim_hubspot(POST => 'contacts', {properties => {firstname => 'Erase',
    lastname => 'Meplease', email => 'erase@me.example'},
    associations => {companies => [$members[12]]}})->{id};
wait_for('a person', 20, sub { contact($person)->{in_scope} });
$rig->sim_hubspot(POST => "contacts/$person/privacy_delete");
wait_for('whose deletion is audited', 20, sub {
    $rig->value("select count(*) from psync_bi.audit_trail where action = 'erase'
        and target = 'contact $person'");
});
is_deeply contact($person)->{raw}, {}, 'the row holds nothing any more';
ok defined contact($person)->{deleted_at}, 'and is marked';
is $rig->value("select count(*) from psync.record where raw::text like '%Meplease%'"), 0,
    'no record holds the name';
is $rig->value("select count(*) from psync.attempt_body where body like '%Meplease%'
    or url like '%Meplease%'"), 0, 'no kept answer does';
is $rig->value("select count(*) from psync.customer where fields::text like '%Meplease%'"), 0,
    'no customer does';

# The same of a person who is no more mirrored, since contacts were switched off meanwhile.
my $former = $rig->sim_hubspot(POST => 'contacts', {properties => {firstname => 'Former',
    lastname => 'Forgetme', email => 'former@me.example'},
    associations => {companies => [$members[12]]}})->{id};
wait_for('another person', 20, sub { contact($former)->{in_scope} });
$rig->must('connection', 'set', 'hubspot', '--objects', 'owner,company');
$rig->sim_hubspot(PATCH => "contacts/$former", {properties => {firstname => 'Formerly'}});
$rig->sim_hubspot(POST => "contacts/$former/privacy_delete");
wait_for('with contacts off a privacy deletion is followed all the same', 20, sub {
    $rig->value("select count(*) from psync_bi.audit_trail where action = 'erase'
        and target = 'contact $former'");
});
is $rig->value("select count(*) from psync.record where raw::text like '%Forgetme%'"), 0,
    'no record holds the name';
wait_for('all is quiet', 20, sub { $rig->idle });

# ---- what is mirrored is chosen while a worker knows the former choice ----
my $contacts = sub { $rig->value("select count(*) from psync.record where object_type = 'contact'
    and in_scope and deleted_at is null") };
my $people = $contacts->();
cmp_ok $people, '>', 0, 'there are contacts';
my $pages = $rig->fault(provider => 'hubspot', regex => 'memberships', times => 1,
    until_released => JSON::PP::true);
$rig->must('run-now', 'hubspot');
wait_for('a full sync without contacts is under way', 20, sub { $rig->held($pages) });
$rig->must('connection', 'set', 'hubspot', '--objects', 'default');
$rig->sim(DELETE => "faults/$pages");
wait_for('all is quiet', 30, sub { $rig->idle && $rig->value("select count(*) from psync.run
    where status in ('queued', 'running')") == 0 });
is_deeply [map { $_->{status} } $rig->rows("select status from psync.run order by run_id desc limit 2")],
    ['succeeded', 'cancelled'], 'another one with contacts takes its place';
is $contacts->(), $people, 'and calls no contact outside';

# ---- what no incremental sync can see ----
wait_for('all is quiet', 20, sub { $rig->idle });
my ($score, $tie, $dead, $joined) = (@members[20, 21, 22], 0);
my %member = map { $_ => 1 } @members;
($joined) = grep { !$member{$_} } @{$rig->sim_hubspot(GET => 'companies?ids=1')};
$rig->value(q{insert into psync.mapping (connection_id, version, fields)
    select connection_id, 2, fields || '[{"field":"health","source":"health_score","type":"number","convert":""}]'
    from psync.mapping join psync.connection using (connection_id) where provider = 'hubspot'});
$rig->value(q{update psync.connection set version = version + 1});
is $rig->run_now('hubspot'), 0, 'with the calculated property mapped';
my $new_friend = $rig->sim_hubspot(POST => 'contacts', {properties => {firstname => 'Tied'},
    notify => $no})->{id};
$rig->sim_hubspot(PATCH => "companies/$score", {properties => {health_score => '87'},
    touch => $no, notify => $no});
$rig->sim_hubspot(POST => 'associations', {from => 'companies', from_id => $tie,
    to => 'contacts', to_id => $new_friend, notify => $no});
$rig->sim_hubspot(DELETE => "companies/$dead", {notify => $no});
$rig->sim_hubspot(POST => 'lists/42/add', {ids => [$joined], notify => $no});
$rig->must('queue', 'rebuild');
wait_for('the catch-up sees who joined', 20, sub { company($joined)->{in_scope} });
wait_for('and has nothing left to do', 20, sub { $rig->idle });
isnt customer_of($score)->{custom}{health}, 87, 'it cannot see the calculated property';
is $rig->run_now('hubspot'), 0, 'the full sync';
is customer_of($score)->{custom}{health}, 87, 'sees the calculated property';
is contact($new_friend)->{company_id}, $tie, 'sees the association';
ok defined company($dead)->{deleted_at}, 'sees the archived company';
isnt customer_of($dead)->{archived_at}, undef, 'and archives its customer';

# ---- the app's subscriptions as a file ----
my $file = json()->decode($rig->must('webhook', 'hsmeta', 'hubspot'));
is $file->{config}{settings}{targetUrl}, $rig->gateway . '/webhooks/hubspot', 'hsmeta: where to';
my %told = map { ("$_->{objectType}.$_->{propertyName}" => $_->{subscriptionType}) }
    @{$file->{config}{subscriptions}{crmObjects}};
is $told{"company.$_->{source}"}, 'object.propertyChange', "hsmeta: a change of $_->{source}"
    for grep { $_->{source} !~ /^createdate$/ } @{$rig->cmd_json('mapping', 'show', 'hubspot')->{fields}};
is_deeply [grep { /lastmodifieddate/ } keys %told], [], 'hsmeta: nothing HubSpot refuses';
is scalar(grep { $_->{subscriptionType} eq 'contact.merge' }
    @{$file->{config}{subscriptions}{legacyCrmObjects}}), 1, 'hsmeta: merges';
is $file->{config}{subscriptions}{hubEvents}[0]{subscriptionType}, 'contact.privacyDeletion',
    'hsmeta: privacy deletions';

# ---- a mapped property that vanishes ----
my $before = customer_of($score)->{custom}{health};
$rig->sim_hubspot(DELETE => 'properties/companies/health_score');
my ($code) = $rig->cmd('run-now', 'hubspot', '--wait', '--timeout', '60s');
is customer_of($score)->{custom}{health}, $before, 'a vanished property overwrites nothing';
ok $rig->value(q{select count(*) from psync_bi.sync_log
    where error_code = 'map_unknown_property'}), 'and is reported';

wait_for('nothing is left to do', 30, sub { $rig->idle });
is(($rig->cmd('queue', 'fsck'))[0], 0, 'the queue is sound');
done_testing;
