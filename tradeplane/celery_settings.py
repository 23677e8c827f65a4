"""Celery's settings, apart so that they can be read without starting anything."""

from django.conf import settings

broker_url = settings.CELERY_BROKER_URL
broker_connection_retry_on_startup = True
broker_connection_max_retries = None
broker_transport_options = {
    "visibility_timeout": 120,  # well above the longest task (20 s)
    "socket_timeout": 15,
    "socket_connect_timeout": 3,
    "socket_keepalive": True,
    "health_check_interval": 10,
    "unacked_restore_interval": 5,
    "unacked_restore_throttle": 1,
}
accept_content = ["json"]
task_serializer = "json"
task_ignore_result = True
task_acks_late = True
task_reject_on_worker_lost = True
task_publish_retry = False  # a retried publish can double a message; callers re-send by state
task_time_limit = 20
task_soft_time_limit = 15
worker_prefetch_multiplier = 1
worker_send_task_events = False
worker_hijack_root_logger = False
worker_cancel_long_running_tasks_on_connection_loss = False
task_create_missing_queues = True
timezone = "UTC"
