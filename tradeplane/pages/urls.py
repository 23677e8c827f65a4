"""URLs of the pages."""

from django.urls import path

from tradeplane.pages import adopt_views, parameter_views, shard_views, stop_views, views

urlpatterns = [
    path("", views.live, name="live"),
    path("why/<int:decision_id>/", views.why, name="why"),
    path("symbol/", views.symbol, name="symbol"),
    path("symbol/<str:name>/", views.symbol, name="symbol"),
    path("symbol/<str:name>/bars/", views.chart_data, name="chart"),
    path("decision/<int:decision_id>/", views.decision, name="decision"),
    path("decision/<int:decision_id>/try/", views.try_decision, name="try"),
    path("trade/<int:trade_id>/why/", views.fired, name="fired"),
    path("parameters/", parameter_views.show, name="parameters"),
    path("parameters/check/", parameter_views.check, name="parameters-check"),
    path("parameters/preview/", parameter_views.preview, name="parameters-preview"),
    path("parameters/save/", parameter_views.save, name="parameters-save"),
    path("parameters/<int:old>/<int:new>/", parameter_views.compare, name="parameters-compare"),
    path("system/", views.system, name="system"),
    path("system/shards/", shard_views.change, name="shards-change"),
    path("system/adopt/", adopt_views.adopt, name="adopt"),
    path("system/release/", adopt_views.release, name="release"),
    path("help/", views.help_page, name="help"),
    path("log/", views.log_page, name="log"),
    path("log/acknowledge/", views.acknowledge, name="acknowledge"),
    path("stop/", stop_views.stop, name="stop"),
    path("stop/turn/", stop_views.turn, name="turn"),
]
