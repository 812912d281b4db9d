# Sidekiq with nothing to do in its jobs: `put SECONDS`, then `work SECONDS CPU_SECONDS`, as queue.c
# prints them. Two processes of ten threads; from the first job that left the queue until it is empty,
# so that their start does not count.
# usage: sidekiq.rb SOCKET JOBS
require 'sidekiq'

Redis.silence_deprecations = true if Redis.respond_to?(:silence_deprecations=)
options = { url: "unix://#{ENV['BENCH_REDIS'] || ARGV[0]}" }
Sidekiq.configure_client { |c| c.redis = options }
Sidekiq.configure_server { |c| c.redis = options }
Sidekiq.logger.level = Logger::ERROR

class Noop
  include Sidekiq::Worker
  def perform(_object, _id); end
end

if $PROGRAM_NAME == __FILE__
  $stdout.sync = true
  now = -> { Process.clock_gettime(Process::CLOCK_MONOTONIC) }
  jobs = ARGV[1].to_i
  began = now.call
  (0...jobs).each_slice(1000) do |ids|
    Sidekiq::Client.push_bulk('class' => Noop, 'args' => ids.map { |i| ['company', (10_000_000 + i).to_s] })
  end
  puts format('put %.3f', now.call - began)
  $stdin.gets
  pids = Array.new(2) do
    Process.spawn({ 'BENCH_REDIS' => ARGV[0] }, 'sidekiq', '-r', __FILE__, '-c', '10',
                  %i[out err] => File::NULL)
  end
  left = -> { Sidekiq.redis { |r| r.llen('queue:default') } }
  sleep 0.005 while left.call == jobs
  first = left.call
  began = now.call
  sleep 0.02 while left.call.positive?
  took = now.call - began
  pids.each { |pid| Process.kill('TERM', pid) }
  Process.waitall
  used = Process.times
  puts format('work %.3f %.3f', took * jobs / first, used.cutime + used.cstime)
end
