#!/usr/bin/perl
# A company that joins or leaves the list, contacts that come and go with it, a list that is
# emptied or deleted: seen by the catch-up or by run-now, and never a mass removal unasked.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Psync;
use Test::More;

my $no = JSON::PP::false;
my $rig = Psync->new(sim => [qw(--companies 90 --list-members 60 --contacts 160 --customers 0)]);
$rig->start(qw(webhook-gw scheduler worker));
$rig->connect_hubspot(hooks => 1);
is $rig->run_now('hubspot'), 0, 'the first full sync succeeds';

my @members = @{$rig->sim_hubspot(GET => 'companies?list=42&ids=1')};
my %member = map { $_ => 1 } @members;
my @outside = grep { !$member{$_} } @{$rig->sim_hubspot(GET => 'companies?ids=1')};

sub catch_up {
    $rig->must('queue', 'rebuild');
    return;
}

sub company {
    my ($id) = @_;
    my ($row) = $rig->rows("select * from psync_bi.hubspot_company where record_id = '$id'");
    return $row;
}

sub contact {
    my ($id) = @_;
    my ($row) = $rig->rows("select * from psync_bi.hubspot_contact where record_id = '$id'");
    return $row;
}

sub archived {
    my ($id) = @_;
    return $rig->value("select count(*) from psync_bi.customer c join psync.record_link l
        using (customer_id) where l.object_type = 'company' and l.record_id = '$id'
        and c.archived_at is not null");
}

sub contacts_equal {
    my ($what) = @_;
    my $truth = join ',', sort @{$rig->sim_hubspot(GET => 'contacts?companies_of=42&ids=1')};
    wait_for($what, 20, sub {
        $truth eq join ',', sort split /\n/, $rig->value('select record_id
            from psync_bi.hubspot_contact where in_scope and deleted_at is null');
    });
    return;
}

sub last_run {
    my ($run) = $rig->rows('select * from psync_bi.run_history order by run_id desc limit 1');
    return $run;
}
contacts_equal('contacts are those of the members');

# ---- are all of them here? ----
sub counts {
    my %by;
    $by{$_->{object_type}} = $_ for $rig->rows('select * from psync_bi.completeness');
    return \%by;
}
is counts()->{company}{provider_count}, 60, 'completeness has the size of the list';
is counts()->{company}{mirrored_count}, 60, 'and how many are here';
is counts()->{contact}{difference}, 0, 'contacts are all here, too';
my ($status) = grep { $_->{provider} eq 'hubspot' } @{$rig->cmd_json('status')->{connections}};
is_deeply [map { "$_->{object_type} $_->{difference}" } @{$status->{completeness}}],
    ['company 0', 'contact 0'], 'status shows both';
like $rig->must('status'), qr/Records: company +60 at the provider, 60 here/, 'in words as well';
is $rig->value('select missing_records from psync_bi.connection_status'), 0, 'nothing is missing';
# A list that says another size than it has members.
my $lie = $rig->fault(provider => 'hubspot', path => '/crm/lists/2026-03/42/memberships',
    times => -1, replace => [{find => '"total":60', with => '"total":63'}]);
is $rig->run_now('hubspot'), 0, 'a full sync of a list that counts three more';
is counts()->{company}{difference}, 3, 'shows the difference';
is $rig->value(q{select error_message from psync_bi.sync_log
    where error_code = 'mirror_incomplete'}),
    '63 at the provider, 60 here, 0 that could not be written', 'which is an error with a name';
$rig->sim(DELETE => "faults/$lie");
is $rig->run_now('hubspot'), 0, 'and again';
is counts()->{company}{difference}, 0, 'all there';

# ---- contacts by delivery ----
my $friend = $rig->sim_hubspot(POST => 'contacts', {properties => {firstname => 'Friend'},
    associations => {companies => [$members[0]]}})->{id};
wait_for('a contact that only an association makes ours arrives', 20,
    sub { (contact($friend) // {})->{in_scope} });
is contact($friend)->{company_id}, $members[0], 'below its company';
my $stranger = $rig->sim_hubspot(POST => 'contacts', {properties => {firstname => 'Stranger'},
    associations => {companies => [$outside[5]]}})->{id};
wait_for('a contact of a company outside has its line in the log', 20, sub {
    $rig->value("select count(*) from psync_bi.sync_log where record_id = '$stranger'
        and error_code = 'not_in_mirrored_list'");
});
is contact($stranger), undef, 'and no row';
$rig->sim_hubspot(POST => 'associations', {from => 'companies', from_id => $members[1],
    to => 'contacts', to_id => $stranger});
wait_for('associated with a member it is ours', 20,
    sub { (contact($stranger) // {})->{in_scope} });
$rig->sim_hubspot(POST => 'associations', {from => 'companies', from_id => $members[1],
    to => 'contacts', to_id => $stranger, remove => JSON::PP::true});
wait_for('and no more when the association ends', 20, sub { !contact($stranger)->{in_scope} });

# ---- joining and leaving, found by the catch-up ----
my ($joiner, $leaver) = ($outside[0], $members[5]);
my $guest = $rig->sim_hubspot(POST => 'contacts', {properties => {firstname => 'Guest'},
    associations => {companies => [$joiner]}, notify => $no})->{id};
my $staff = $rig->sim_hubspot(POST => 'contacts', {properties => {firstname => 'Staff'},
    associations => {companies => [$leaver]}})->{id};
wait_for('a contact of who will leave', 20, sub { (contact($staff) // {})->{in_scope} });
$rig->sim_hubspot(POST => 'lists/42/add', {ids => [$joiner], notify => $no});
$rig->sim_hubspot(POST => 'lists/42/remove', {ids => [$leaver], notify => $no});
catch_up();
wait_for('who joined is here after a catch-up', 20, sub { (company($joiner) // {})->{in_scope} });
wait_for('with its contact', 20, sub { (contact($guest) // {})->{in_scope} });
wait_for('who left is outside', 20, sub { !company($leaver)->{in_scope} });
is archived($leaver), 1, 'its customer is archived';
wait_for('and its contact is outside', 20, sub { !contact($staff)->{in_scope} });
$rig->sim_hubspot(POST => 'lists/42/add', {ids => [$leaver], notify => $no});
catch_up();
wait_for('who rejoins is back', 20, sub { company($leaver)->{in_scope} });
is archived($leaver), 0, 'as the customer it was';
wait_for('with its contact', 20, sub { contact($staff)->{in_scope} });
is $rig->value("select channel_state from psync.connection where provider = 'hubspot'") eq 'stale',
    '', 'a membership, of which no webhook tells, does not make the channel stale';
contacts_equal('contacts are those of the members still');

# ---- a member that leaves and is then delivered ----
wait_for('nothing of what came before is left to do', 60, sub { $rig->idle });
$rig->sim_hubspot(POST => 'lists/42/remove', {ids => [$leaver], notify => $no});
is $rig->run_now('hubspot'), 0, 'run-now sees it leave';
ok !company($leaver)->{in_scope}, 'it is outside';
$rig->sim_hubspot(PATCH => "companies/$leaver", {properties => {name => 'Gone Ltd'}});
wait_for('a delivery about it is answered', 20, sub {
    $rig->value("select count(*) from psync_bi.sync_log where record_id = '$leaver'
        and trigger = 'webhook' and error_code = 'not_in_mirrored_list'");
});
is archived($leaver), 1, 'it stays archived';

# ---- a list emptied ----
wait_for('the contacts have followed their companies', 60, sub { $rig->idle });
my @now = @{$rig->sim_hubspot(GET => 'companies?list=42&ids=1')};
my $live = scalar @now;
my $alive = 'select count(*) from psync_bi.customer where archived_at is null';
my $peopled = 'select count(*) from psync_bi.hubspot_contact where in_scope and deleted_at is null';
my $people = $rig->value($peopled);
$rig->sim_hubspot(PUT => 'lists/42/members', {members => [], notify => $no});
catch_up();
wait_for('a catch-up says that a removal is held', 20, sub {
    $rig->value(q{select count(*) from psync_bi.sync_log
        where error_code = 'mass_removal_guard' and kind = 'check'});
});
is $rig->value($alive), $live, 'and archives nothing';
my ($code, $out, $err) = $rig->cmd('run-now', 'hubspot', '--wait', '--timeout', '60s');
isnt $code, 0, 'run-now does not call it a success';
is last_run()->{error_code}, 'mass_removal_guard', 'the run says why';
is last_run()->{status}, 'partial', 'and is partial';
is $rig->value($alive), $live, 'nothing was archived';
is $rig->value($peopled), $people, 'no contact either';
my $shown = $rig->cmd_json('scope', 'show', 'hubspot')->[0];
is $shown->{held_removals}, $live, 'scope show tells how many are held';
is scalar @{$shown->{removals}}, $live, 'and which';
like $rig->must('scope', 'show', 'hubspot'), qr/confirm-removals/, 'and what to do';
is $rig->run_now('hubspot') == 0, '', 'another run holds them as well';
$rig->must('scope', 'confirm-removals', 'hubspot', '--wait');
is $rig->value($alive), 0, 'after the confirmation they are archived';
is $rig->value($peopled), 0, 'their contacts are outside';
is $rig->value(q{select count(*) from psync_bi.audit_trail
    where action = 'scope.confirm_removals'}), 1, 'the audit trail knows who did it';
($code, $out, $err) = $rig->cmd('scope', 'confirm-removals', 'hubspot');
is $code, 9, 'there is nothing to confirm twice';

# ---- refilled, then deleted ----
$rig->sim_hubspot(PUT => 'lists/42/members', {members => \@now, notify => $no});
is $rig->run_now('hubspot'), 0, 'a list filled again';
is $rig->value($alive), $live, 'brings them back';
is $rig->value('select count(*) from psync_bi.customer'), $live + 1, 'as the same customers';
contacts_equal('with their contacts');
$rig->sim_hubspot(DELETE => 'lists/42');
catch_up();
wait_for('a catch-up says that the list is gone', 20, sub {
    $rig->value(q{select count(*) from psync_bi.sync_log
        where error_code = 'list_not_found' and kind = 'check'});
});
isnt +($rig->cmd('run-now', 'hubspot', '--wait', '--timeout', '60s'))[0], 0, 'run-now fails';
like $rig->value(q{select string_agg(distinct error_code, ',') from psync_bi.sync_log
    where run_id = (select max(run_id) from psync.run)}), qr/list_not_found/, 'and says why';
is $rig->value($alive), $live, 'nothing is archived';
($code, $out, $err) = $rig->cmd('resync', 'hubspot', 'company', $now[0], '--wait');
isnt $code, 0, 'a resync by hand is not answered';
is archived($now[0]), 0, 'and does not take "no member" of a list that is gone for an answer';
$rig->sim_hubspot(POST => 'lists/42/restore');
is $rig->run_now('hubspot'), 0, 'restored, all is well again';
wait_for('the last catch-up has nothing left to do', 30, sub { $rig->idle });
is(($rig->cmd('queue', 'fsck'))[0], 0, 'the queue is sound');

# ---- another list: what it would do ----
my ($keep, $new) = ($now[0], $outside[9]);
$rig->sim_hubspot(PUT => 'lists/43/members', {members => [$keep, $new], notify => $no});
my $preview = $rig->cmd_json('scope', 'set', 'hubspot', 'list', 43, '--dry-run');
$preview = $preview->[0] if ref $preview eq 'ARRAY';
is $preview->{adds}, 1, 'a dry run says how many it adds';
is $preview->{keeps}, 1, 'keeps';
is $preview->{archives}, $live - 1, 'and archives';
is $preview->{add}[0]{record_id}, $new, 'who is added';
is $preview->{add}[0]{name}, $rig->sim_hubspot(GET => "companies/$new")->{properties}{name},
    'with the name';
ok !(grep { !defined $_->{name} } @{$preview->{archive}}), 'who is archived has a name';
like $rig->must('scope', 'set', 'hubspot', 'list', 43, '--dry-run'),
    qr/1 would be added, 1 kept, @{[$live - 1]} archived/, 'in words';
is $rig->value("select scope_id from psync.connection where provider = 'hubspot'"), 42,
    'nothing was changed';
is +($rig->cmd('scope', 'set', 'hubspot', 'list', 999, '--dry-run'))[0], 3,
    'a list that is not there';

# ---- a list of something else ----
($code, $out, $err) = $rig->cmd('scope', 'set', 'hubspot', 'list', 45);
is $code, 2, 'a list of contacts is refused';
like $err, qr/contacts/, 'and the refusal says why';

done_testing;
